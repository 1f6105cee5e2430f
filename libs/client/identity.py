"""The certificate that a device shows, where the edge in front of the server asks for one (mutual TLS)."""

import ssl
from collections.abc import Mapping

from libs.client.errors import HiperError


def identity(env: Mapping[str, str]) -> ssl.SSLContext | None:
    """TLS with the PEM certificate in HIPER_CLIENT_CERT, and its key in HIPER_CLIENT_KEY unless it is in the same file.
    None if neither is set. Raises HiperError."""
    certificate, key = env.get("HIPER_CLIENT_CERT", ""), env.get("HIPER_CLIENT_KEY", "")
    if not certificate:
        if key:
            raise HiperError("HIPER_CLIENT_KEY goes with a certificate", "set HIPER_CLIENT_CERT too")
        return None
    context = ssl.create_default_context()
    try:
        context.load_cert_chain(certificate, key or None, password=_no_password)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        message = f"cannot use the certificate {certificate}: {reason}"
        raise HiperError(message, "HIPER_CLIENT_CERT and HIPER_CLIENT_KEY are PEM files") from error
    return context


def _no_password() -> str:
    """Instead of asking at the terminal, which a device has none of."""
    return ""
