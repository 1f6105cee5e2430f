"""From what aiohttp raises where no answer came to the client's own errors."""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from pydantic import ValidationError

from libs.client.answer_errors import gateway_error
from libs.client.errors import (
    AnswerError,
    HiperError,
    ServerAwayError,
    SilentServerError,
    TlsError,
    UntrustedServerError,
)

_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"}
_OUR_CERTIFICATE = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")  # in the names of alerts (RFC 8446, section 6.2)
_NO_COMMON_GROUND = ("HANDSHAKE_FAILURE", "PROTOCOL_VERSION", "INSUFFICIENT_SECURITY", "UNSUPPORTED_PROTOCOL")


@contextmanager
def translated(server: str) -> Iterator[None]:
    """Raise the client's errors instead of aiohttp's and pydantic's."""
    try:
        yield
    except aiohttp.ClientHttpProxyError as error:  # of a tunnel; without one the proxy's answer is an answer
        raise gateway_error(server, error.status, error.message, "") from error
    except aiohttp.InvalidURL as error:
        raise HiperError(f"{server!r} is not the address of a server", "like https://host:port") from error
    except aiohttp.SocketTimeoutError as error:
        raise SilentServerError(server, "no answer in time") from error
    except TimeoutError as error:
        raise ServerAwayError(server, "no answer in time") from error
    except aiohttp.ClientError as error:
        cause = _ssl_error(error)
        raise (tls_error(server, cause) if cause else ServerAwayError(server, _reason(error))) from error
    except ValidationError as error:
        raise AnswerError(f"{server} answers, but not like a HiPER server", "check the address") from error


def tls_error(server: str, error: ssl.SSLError) -> HiperError:
    """What went wrong with TLS, and whether trying again can help."""
    reason = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "check its certificate (SSL_CERT_FILE names the CAs to trust), and the clock of this machine"
        return UntrustedServerError(f"cannot trust {server}: {error.verify_message}", hint)
    if "ALERT" in reason and any(word in reason for word in _OUR_CERTIFICATE):
        words = reason.rpartition("ALERT_")[2].replace("_", " ").lower()
        hint = "HIPER_CLIENT_CERT and HIPER_CLIENT_KEY name the certificate to show"
        return TlsError(f"{server} does not accept who we are by TLS: {words}", hint)
    if reason in _NO_TLS:
        hint = "is it an http:// address? Else log in to this network, it may have a portal"
        return TlsError(f"what answers at {server} does not speak TLS", hint, retry="few")
    if any(word in reason for word in _NO_COMMON_GROUND):
        return TlsError(f"{server} and this machine have no way of TLS in common: {reason}", retry="few")
    return ServerAwayError(server, f"TLS broke: {reason or error}")


def _ssl_error(error: BaseException | None) -> ssl.SSLError | None:
    """The error of TLS that is behind one of aiohttp."""
    while isinstance(error, aiohttp.ClientError):
        known = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
        error = known or error.__cause__
    return error if isinstance(error, ssl.SSLError) else None


def _reason(error: aiohttp.ClientError) -> str:
    if not isinstance(error, aiohttp.ClientConnectorError):
        return str(error) or type(error).__name__
    cause = error.os_error  # a name that is not found has a number below 0, and its text in strerror
    reason = os.strerror(cause.errno) if cause.errno and cause.errno > 0 else str(cause.strerror)
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"the proxy {error.host}:{error.port}: {reason}"
    return reason
