"""Reads a token request: the client credentials grant (RFC 6749, section 4.4)."""

import base64
import binascii
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote_plus

from libs.common.problems import Kind, Problem

_MAX_FIELDS = 16
NO_STORE = {"Cache-Control": "no-store"}  # RFC 6749, section 5.1
CHALLENGE = {"WWW-Authenticate": 'Basic realm="hiper", charset="UTF-8"'}


@dataclass(frozen=True, slots=True)
class TokenRequest:
    client_id: str = field(repr=False)  # may be a secret, in the wrong field
    secrets: tuple[str, ...] = field(repr=False)  # how the secret may have been meant; one must match
    scopes: frozenset[str] | None  # None: those that the client has by default


def refused(error: str, description: str) -> Problem:
    """The errors of RFC 6749, section 5.2, as members of a problem document."""
    client = error == "invalid_client"
    return Problem(
        Kind.INVALID_CLIENT if client else Kind.TOKEN_REQUEST,
        description,
        headers=NO_STORE | (CHALLENGE if client else {}),
        error=error,
        error_description=description,
    )


def parse_token_request(body: bytes, authorization: str) -> TokenRequest:
    """Raises Problem with one of the errors of RFC 6749."""
    fields = _fields(body)
    if "grant_type" not in fields:
        raise refused("invalid_request", "Send grant_type=client_credentials as a form field")
    if fields["grant_type"] != "client_credentials":
        raise refused("unsupported_grant_type", "The only grant_type is client_credentials")
    client_id, secrets = _credentials(fields, authorization)
    # A form of Swagger UI's with no scope ticked has the field, empty.
    scopes = frozenset(fields["scope"].split()) if fields.get("scope", "").strip() else None
    return TokenRequest(client_id, secrets, scopes)


def _fields(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise refused("invalid_request", "The body is no form in UTF-8") from error
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise refused("invalid_request", "A field is there twice")
    return fields


def _credentials(fields: dict[str, str], authorization: str) -> tuple[str, tuple[str, ...]]:
    """One way to authenticate, not two (RFC 6749, section 2.3)."""
    if not authorization:
        if "client_id" not in fields or "client_secret" not in fields:
            raise refused("invalid_client", "Send the client's id and secret with HTTP Basic, or as form fields")
        return fields["client_id"], (fields["client_secret"],)
    client_id, secret = _basic(authorization)
    if "client_secret" in fields or fields.get("client_id", client_id) != client_id:
        raise refused("invalid_request", "Send the client's credentials once, not twice")
    # Section 2.3.1 wants both form-encoded within Basic; many clients send them as they are.
    return unquote_plus(client_id), (secret, unquote_plus(secret))


def _basic(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise refused("invalid_client", "Of the Authorization schemes, only Basic asks for a token")
    try:
        client_id, colon, secret = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError) as error:
        raise refused("invalid_client", "The Basic credentials are malformed") from error
    if not colon:
        raise refused("invalid_client", "The Basic credentials are malformed")
    return client_id, secret
