"""Which error an answer means, and whether asking again can help."""

from collections.abc import Mapping
from typing import Any

from libs.client.errors import (
    AnswerError,
    ContentConflictError,
    FeedExpiredError,
    FileTooLargeError,
    GatewayError,
    IncompleteError,
    NotFoundError,
    OtherSizeError,
    PreconditionError,
    RangeError,
    RejectedError,
    Retry,
    UnauthorizedError,
)
from libs.client.provenance import PROBLEM

_BY_SLUG: Mapping[str, tuple[type[AnswerError], str]] = {
    "unauthorized": (UnauthorizedError, "log in again: hiper login"),
    "not-found": (NotFoundError, "see what is there: hiper ls"),
    "precondition-failed": (PreconditionError, "somebody else works on that file; try again"),
    "range-not-satisfiable": (RangeError, ""),
    "file-rejected": (RejectedError, "the bytes changed under way; upload the file again"),
    "upload-incomplete": (IncompleteError, "see how far it is: hiper status NAME"),
    "forbidden": (AnswerError, "the device needs a wider scope (hiper device add --scope ...)"),
    "total-size-conflict": (OtherSizeError, "throw the unfinished upload away: --replace, or hiper rm NAME"),
    "content-conflict": (ContentConflictError, "throw the unfinished upload away: --replace, or hiper rm NAME"),
    "digest-conflict": (ContentConflictError, "throw the unfinished upload away: --replace, or hiper rm NAME"),
    "name-conflict": (AnswerError, "no file is a folder of another; choose another name: --name"),
    "too-large": (AnswerError, "smaller chunks were tried; the operator can raise the limit"),
    "too-large/file": (FileTooLargeError, "split the file, or ask the operator to raise MAX_FILE_SIZE"),
    "too-large/body": (AnswerError, "send it in several requests"),
    "feed-expired": (FeedExpiredError, "begin with what is kept: hiper events"),
    "device-not-found": (NotFoundError, "see which there are: hiper device ls"),
    "device-has-files": (AnswerError, "see them, and delete them: hiper device purge ID"),
    "device-exists": (AnswerError, "revoke it first, or choose another id"),
}
_BY_STATUS: Mapping[int, str] = {
    401: "unauthorized", 404: "not-found", 410: "file-rejected", 412: "precondition-failed",
    413: "too-large", 416: "range-not-satisfiable",
}  # fmt: skip  # a HEAD answer has no body to name the slug
_RETRY: Mapping[int, Retry] = {408: "yes", 429: "yes", 502: "yes", 503: "yes", 504: "yes"}
_PASSING = {"store-full"}  # of a status that others share which do not pass: there may be room again
_DAMAGED = {
    "digest-mismatch",
    "checksum-mismatch",
    "malformed-chunk",
}  # on its way: another attempt may arrive whole
_GATEWAY_FINAL = {301, 308, 407, 413}  # another address, a login at the proxy, or a smaller request is needed
_GATEWAY_PASSING = {404, 408, 421, 425, 429}  # an ingress says 404 while the server behind it starts


def answer_error(status: int, reason: str, document: Mapping[str, Any], retry_after: float = 0) -> AnswerError:
    """The error for an answer. `document` is its problem document (RFC 9457), or empty if it had none."""
    slug = str(document.get("type", "")).removeprefix(PROBLEM) if document else _BY_STATUS.get(status, "")
    limited = document.get("limited")  # of a file, a chunk or another body; a server of 0.1 does not say
    kind, hint = _BY_SLUG.get(f"{slug}/{limited}") or _BY_SLUG.get(slug, (AnswerError, ""))
    title, detail = document.get("title"), document.get("detail")
    message = ": ".join(str(part) for part in (title, detail) if part) or f"the server answered {status} {reason}"
    error = kind(message, hint, status=status, slug=slug)
    if isinstance(error, FeedExpiredError):
        error.oldest = str(document.get("oldest", ""))
    otherwise: Retry = "few" if status >= 500 or slug in _DAMAGED else "no"
    error.retry = "yes" if slug in _PASSING else _RETRY.get(status, otherwise)
    error.retry_after = retry_after
    return error


def gateway_error(server: str, status: int, reason: str, target: str, retry_after: float = 0) -> GatewayError:
    """The error for an answer that is not the server's. `target` is where a redirect leads. A portal or an ingress may
    be gone at the next attempt: most of these answers are tried again for as long as patience lasts."""
    if 300 <= status < 400:
        message = f"a gateway sends us from {server} to {target or 'elsewhere'}"
        hint = "if that is the server, use its address; else log in to this network, it may have a portal"
    else:
        message = f"a gateway answered {status} {reason} instead of {server}".replace("  ", " ")
        hint = "look at the proxy or ingress on the way, or check the address"
        if status < 300:
            hint = "log in to this network, it may have a portal; or check the address"
        elif status == 407:
            hint = "the proxy wants a user and a password: http://USER:PASSWORD@PROXY:PORT"
    error = GatewayError(message, hint, status=status)
    passing = status < 400 or status >= 500 or status in _GATEWAY_PASSING
    error.retry = "no" if status in _GATEWAY_FINAL else "yes" if passing else "few"
    error.retry_after = retry_after
    return error
