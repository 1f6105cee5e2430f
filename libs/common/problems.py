"""Every error that a client can see: one row of one table each (RFC 9457), raised as one exception."""

import math
import random
from enum import Enum
from typing import Any, NamedTuple


class ProblemType(NamedTuple):
    slug: str  # the problem's `type` is urn:hiper:problem:{slug}
    status: int
    title: str
    retry_after: int | None = None  # seconds; set where trying again can help


class Kind(ProblemType, Enum):
    """The table. Slugs are stable: clients rely on them."""

    MALFORMED_CHUNK = ProblemType("malformed-chunk", 400, "The chunk does not fit its header")
    CHECKSUM_MISMATCH = ProblemType("checksum-mismatch", 400, "The payload does not match its checksum")
    DIGEST_MISMATCH = ProblemType("digest-mismatch", 400, "The content does not match its digest")
    BAD_DIGEST = ProblemType("bad-digest", 400, "The digest field cannot be used")
    BAD_RANGE = ProblemType("bad-range", 400, "The byte range is not valid")
    CHUNK_TOO_SMALL = ProblemType("chunk-too-small", 400, "The chunk is too small")
    BAD_TOTAL_SIZE = ProblemType("bad-total-size", 400, "The total size is not valid")
    OFFSET_TOO_LARGE = ProblemType("offset-too-large", 400, "The 9-byte header cannot address this file")
    BAD_FILENAME = ProblemType("bad-filename", 400, "The filename is not valid")
    BAD_LABEL = ProblemType("bad-label", 400, "A label is not valid")
    BAD_REQUEST = ProblemType("bad-request", 400, "The request is not valid")
    TOKEN_REQUEST = ProblemType("token-request", 400, "The token request is not valid")
    INVALID_CLIENT = ProblemType("invalid-client", 401, "The client's credentials are not valid")
    UNAUTHORIZED = ProblemType("unauthorized", 401, "A valid access token is needed")
    FORBIDDEN = ProblemType("forbidden", 403, "The token does not allow this")
    NOT_FOUND = ProblemType("not-found", 404, "There is no such file")
    DEVICE_NOT_FOUND = ProblemType("device-not-found", 404, "There is no such device")
    WEBHOOK_NOT_FOUND = ProblemType("webhook-not-found", 404, "There is no such webhook")
    NO_ROUTE = ProblemType("no-route", 404, "There is nothing at this address")
    METHOD_NOT_ALLOWED = ProblemType("method-not-allowed", 405, "This address does not take that method")
    TIMEOUT = ProblemType("timeout", 408, "The body did not arrive in time", 1)
    TOTAL_SIZE_CONFLICT = ProblemType("total-size-conflict", 409, "The upload has another total size")
    CONTENT_CONFLICT = ProblemType("content-conflict", 409, "The bytes differ from those acknowledged")
    DIGEST_CONFLICT = ProblemType("digest-conflict", 409, "The upload has another declared digest")
    NAME_CONFLICT = ProblemType("name-conflict", 409, "The name is a folder, or lies below a file")
    UPLOAD_INCOMPLETE = ProblemType("upload-incomplete", 409, "The file is not complete yet")
    DEVICE_EXISTS = ProblemType("device-exists", 409, "The device is registered already")
    DEVICE_HAS_FILES = ProblemType("device-has-files", 409, "Files of an earlier device of this id are there")
    REJECTED = ProblemType("file-rejected", 410, "The upload did not match its declared digest")
    FEED_EXPIRED = ProblemType("feed-expired", 410, "The cursor is older than the outcomes that are kept")
    PRECONDITION_FAILED = ProblemType("precondition-failed", 412, "It is another upload than the one named")
    TOO_LARGE = ProblemType("too-large", 413, "Larger than this server takes")
    RANGE_NOT_SATISFIABLE = ProblemType("range-not-satisfiable", 416, "No byte of that range is there")
    TOO_MANY_REQUESTS = ProblemType("too-many-requests", 429, "Too many requests", 1)
    TOO_MANY_UPLOADS = ProblemType("too-many-uploads", 429, "The device has too many uploads open", 15)
    HEADERS_TOO_LARGE = ProblemType("headers-too-large", 431, "The request's headers are too large")
    INTERNAL = ProblemType("internal", 500, "Something went wrong on the server")
    CLOSING = ProblemType("upload-closing", 503, "The upload of this name ended or changed meanwhile", 2)
    BUSY = ProblemType("busy", 503, "The server has no room for this request", 2)
    NOT_READY = ProblemType("not-ready", 503, "The service is not ready", 2)
    DEVICE_DAMAGED = ProblemType("device-damaged", 503, "What is stored of the device cannot be read", 30)
    STORE_UNAVAILABLE = ProblemType("store-unavailable", 503, "The object store is away", 3)
    QUOTA_EXCEEDED = ProblemType("quota-exceeded", 507, "There is no room left for this device")
    STORE_FULL = ProblemType("store-full", 507, "The server's storage is full", 30)


class Problem(Exception):
    """An error to tell the client. `detail` says what to do about this occurrence; members are extra fields
    of the problem document, headers extra fields of the response."""

    def __init__(self, kind: Kind, detail: str, *, headers: dict[str, str] | None = None, **members: Any) -> None:
        super().__init__(f"{kind.slug}: {detail}")
        self.kind = kind
        self.detail = detail
        self.members = members
        self.headers = dict(headers or {})
        if kind.retry_after is not None:
            self.headers.setdefault("Retry-After", str(kind.retry_after))

    def document(self) -> dict[str, Any]:
        return {
            "type": f"urn:hiper:problem:{self.kind.slug}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            **self.members,
        }


def later(seconds: float, spread: float = 0) -> dict[str, str]:
    """The Retry-After field for what can help in so many seconds, and up to `spread` more (half as many, at least 2,
    by default): those that are told it at the same moment do not come back at the same moment."""
    extra = random.uniform(0, spread or max(2.0, seconds / 2))  # noqa: S311  # jitter, not a secret
    return {"Retry-After": str(max(1, math.ceil(seconds + extra)))}
