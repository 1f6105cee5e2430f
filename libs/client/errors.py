"""Everything that the client raises. `str(error)` is one line that says what happened; `hint` says what to do."""

from typing import Literal

Retry = Literal["no", "few", "yes"]  # never; a few times only; for as long as patience lasts


class HiperError(Exception):
    """Base of all errors of the client.

    `retry` says whether trying again can help; `retry_after` is how many seconds the server asked to wait.
    `exit_code` is that of a command which the error ends."""

    exit_code = 1
    retry: Retry = "no"
    retry_after: float = 0.0
    replaceable = False  # whether an upload with replace=True would get through

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ServerAwayError(HiperError):
    """No answer, or not all of it: refused, broken, or too late. The request may or may not have taken effect."""

    retry: Retry = "yes"

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(f"cannot reach {server}: {reason}", "check the address, the network and the server")


class SilentServerError(ServerAwayError):
    """The connection stands, but nothing comes."""


class TlsError(HiperError):
    """TLS does not come about, for a reason that will stay: one side cannot or will not."""

    def __init__(self, message: str, hint: str = "", retry: Retry = "no") -> None:
        super().__init__(message, hint)
        self.retry = retry


class UntrustedServerError(TlsError):
    """The server's TLS certificate cannot be verified."""


class AnswerError(HiperError):
    """An answer that is an error. `slug` names the row of libs/common/problems.py; it is empty where there is none."""

    def __init__(self, message: str, hint: str = "", *, status: int = 0, slug: str = "") -> None:
        super().__init__(message, hint)
        self.status = status
        self.slug = slug


class GatewayError(AnswerError):
    """An answer that is not the server's, but of something on the way: it says nothing about files or secrets."""


class UnauthorizedError(AnswerError):
    """Neither the token nor a new one is accepted, or the device's id and secret are not."""


class NotFoundError(AnswerError):
    """There is no such file, upload or device."""


class PreconditionError(AnswerError):
    """The upload of that name is not (or not any more) the one that the request was meant for."""


class OtherSizeError(PreconditionError):
    """The same, seen by the total size: an upload of another size has that name."""


class RangeError(AnswerError):
    """The server has no byte of the range asked for."""


class RejectedError(AnswerError):
    """The server threw the upload out: its bytes do not have the declared digest."""

    replaceable = True


class FeedExpiredError(AnswerError):
    """The cursor is older than the outcomes that the server keeps. `oldest` is that of the first one that is kept:
    the outcomes between the two are lost."""

    exit_code = 3
    oldest = ""


class FileTooLargeError(AnswerError):
    """The server takes no file of that size, in whatever chunks."""


class IncompleteError(AnswerError):
    """The file cannot be downloaded yet: its upload is not complete."""


class SizeConflictError(HiperError):
    """An unfinished upload of that name has another total size."""

    replaceable = True


class ContentConflictError(AnswerError):
    """An unfinished upload of that name has other bytes, or another declared digest."""

    replaceable = True


class NameTakenError(HiperError):
    """A complete file of that name is there, and it is another one (or cannot be compared)."""

    replaceable = True


class SourceChangedError(HiperError):
    """The bytes changed while they were being transferred."""


class TargetExistsError(HiperError):
    """What is where a download should go is not to be replaced."""


class UnverifiableError(HiperError):
    """The server knows no digest of the file, and one is needed."""


class ChecksumError(HiperError):
    """The downloaded bytes are not those that the server has."""
