"""What S3 refuses, as the port names it (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html).

No message holds a URL (it is signed) or the store's own words (some stores put the signature into them).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp

from libs.common.storage import (
    ConditionFailed,
    FenceExpired,
    KeyTaken,
    ObjectNotFound,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
    UploadNotFound,
)
from libs.common.storage._s3_body import Upload
from libs.common.storage._s3_xml import Document


class Refused(StoreRefused):
    """A request that the store does not take; `code` is its word for why."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


class ClockDiffers(Refused):
    """The store does not take the time at which this process says that it signed."""


class NoSuchRange(Refused):
    """The object is there, but no byte of the range."""


ADVICE = {
    "AccessDenied": "the access key is not allowed to do this",
    "InvalidAccessKeyId": "check MINIO_ACCESS_KEY",
    "SignatureDoesNotMatch": "check MINIO_SECRET_KEY, MINIO_REGION, and that no proxy changes the Host header",
    "NoSuchBucket": "the bucket is gone",
    "XMinioStorageFull": "the store is full",
}
_BAD_PARTS = ("InvalidPart", "InvalidPartOrder", "EntityTooSmall")
_FOLDERS = (
    "XMinioParentIsObject",
    "XMinioObjectExistsAsDirectory",
    "ParentIsObject",
    "ObjectExistsAsDirectory",
    "ObjectParentIsFile",
    "ExistingObjectIsDirectory",
)  # of MinIO; of versitygw
_AGAIN = (408, 429)  # of the 4xx, those that a second try can cure
# AWS: the write met another one, or a delete, of its key; its condition was not decided.
_UNDECIDED = "ConditionalRequestConflict"


def failure(what: str, fenced: bool, status: int, code: str, message: str) -> Exception:
    """The exception for an answer. `what` names the request; `message` is only looked at."""
    if code == "NoSuchKey":
        return ObjectNotFound(what)
    if code == "PreconditionFailed":
        return ConditionFailed(what)
    if code in _FOLDERS:
        return KeyTaken(f"{what}: one key is the folder of another ({code})")
    if code == "NoSuchUpload":
        return UploadNotFound(what)
    if code in _BAD_PARTS:
        return ValueError(f"{what}: the parts are not those of the upload ({code})")
    if code == "InvalidRange":
        return NoSuchRange(what)
    if code == "RequestTimeTooSkewed" or (code == "AccessDenied" and _is_about_time(message)):
        if fenced:
            return FenceExpired(what)
        return ClockDiffers(f"{what}: the clocks of this machine and of the store differ too much ({code})")
    text = f"{what}: the store answered {status} {code}" + (f": {ADVICE[code]}" if code in ADVICE else "")
    if status == 507:  # RFC 4918, section 11.5: MinIO's XMinioStorageFull, a quota
        return StoreFull(text)
    if code == _UNDECIDED:
        return StoreUnavailable(text)
    return Refused(text, code) if 300 <= status < 500 and status not in _AGAIN else StoreUnavailable(text)


def _is_about_time(message: str) -> bool:
    return "expired" in message or "not valid yet" in message


async def read_failure(response: aiohttp.ClientResponse, what: str, fenced: bool) -> Exception:
    """The exception for an answer that is not a success."""
    text = await response.read()
    code = response.headers.get("X-Minio-Error-Code", "")  # of a HEAD, which has no body
    if not text:
        missing = "NoSuchKey" if response.status == 404 else ""
        return failure(what, fenced, response.status, code or missing, "")
    return document_failure(text, what, fenced, response.status)


def document_failure(text: bytes, what: str, fenced: bool, status: int) -> Exception:
    try:
        document = Document(text)
    except ValueError:
        return failure(what, fenced, status, "without saying why", "")
    return failure(what, fenced, status, document.text("Code"), document.text("Message"))


def _mistrust(error: aiohttp.ClientConnectorCertificateError) -> str:
    reason = getattr(error.certificate_error, "verify_message", "") or "it does not fit"
    return f"the store's certificate is not trusted ({reason})"


@contextmanager
def connection_errors(what: str, upload: Upload | None = None) -> Iterator[None]:
    """Connections that fail are a store that is away; a body that fails is the caller's own error."""
    try:
        yield
    except (aiohttp.ClientError, OSError) as error:
        if upload and upload.failure:
            raise upload.failure from None
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            raise StoreRefused(f"{what}: {_mistrust(error)}; check TLS_CA_FILE and MINIO_ENDPOINT") from None
        reason = getattr(error, "strerror", None) or type(error).__name__  # the whole text holds the URL
        raise StoreUnavailable(f"{what}: {reason}") from None
