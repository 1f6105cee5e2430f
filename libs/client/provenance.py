"""Whose answer it is: the server's, or that of something on the way, such as a Wi-Fi portal, a proxy or an ingress."""

from collections.abc import Mapping
from typing import Any

REQUEST_ID = "X-Request-Id"  # in every answer that a service of HiPER gives, since 0.1
PROBLEM = "urn:hiper:problem:"  # begins the `type` of the problems of HiPER (RFC 9457, section 3.1.1)
_PROBLEM_MEDIA = "application/problem+json"


def is_from_server(status: int, headers: Mapping[str, str], document: Mapping[str, Any]) -> bool:
    """Whether an answer is the server's own.

    A success carries X-Request-Id. An error is a problem document, and carries X-Request-Id unless its type is one of
    HiPER. `document` is that document, or empty where the answer has none: an answer to HEAD has no body. The server
    never redirects."""
    if status < 300:
        return REQUEST_ID in headers
    if status < 400 or not headers.get("Content-Type", "").startswith(_PROBLEM_MEDIA):
        return False
    kind = str(document.get("type", "about:blank"))
    return kind.startswith(PROBLEM) or (kind == "about:blank" and REQUEST_ID in headers)
