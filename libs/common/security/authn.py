"""Who asks, and what they may: dependencies for FastAPI routes (RFC 6750).

They expect an `Authn` at `app.state.authn`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

import structlog
from fastapi import Request, Security
from fastapi.openapi.models import OAuthFlowClientCredentials, OAuthFlows
from fastapi.security import OAuth2

from libs.common.problems import Kind, Problem
from libs.common.security import audit_trail
from libs.common.security.certificates import CertificateBinding, Uncertified
from libs.common.security.revocations import Revocations
from libs.common.security.tokens import InvalidToken, Principal, TokenVerifier

FILES_READ, FILES_WRITE = "files:read", "files:write"
FLEET_READ, FLEET_WRITE, FLEET_MANAGE = "fleet:read", "fleet:write", "fleet:manage"
ADMIN = "admin"
SCOPES = {
    FILES_READ: "Read one's own files and those published to the fleet.",
    FILES_WRITE: "Upload and delete one's own files.",
    FLEET_READ: "Read the files of any owner.",
    FLEET_WRITE: "Publish files to the fleet.",
    FLEET_MANAGE: "List the files of any owner, delete them, and cancel uploads.",
    ADMIN: "Register, list and revoke devices.",
}
REALM = 'Bearer realm="hiper"'

_scheme = OAuth2(
    flows=OAuthFlows(clientCredentials=OAuthFlowClientCredentials(tokenUrl="/token", scopes=SCOPES)),
    scheme_name="OAuth2",
    description="OAuth 2.0 client credentials: a device's id and secret for a short-lived access token.",
    auto_error=False,
)


@dataclass(frozen=True, slots=True)
class Authn:
    """What it takes to know who asks."""

    verifier: TokenVerifier
    revocations: Revocations
    certificates: CertificateBinding = field(default_factory=CertificateBinding)

    async def start(self) -> None:
        """Begin to follow the revocations and, where JWKS_URL is set, the keys. Raises nothing."""
        await self.verifier.start()
        await self.revocations.start()

    async def close(self) -> None:
        await self.revocations.close()
        await self.verifier.close()

    def ready(self) -> Mapping[str, bool]:
        """For /readyz."""
        return {"keys": self.verifier.ready, "revocations": self.revocations.ready}

    async def authenticate(self, authorization: str) -> Principal:
        """The principal of an Authorization header. Raises Problem (UNAUTHORIZED, or NOT_READY while it cannot
        be known which tokens are revoked) and KeysUnavailable."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            detail = "Send Authorization: Bearer <access token>"
            raise Problem(Kind.UNAUTHORIZED, detail, headers={"WWW-Authenticate": REALM})
        try:
            principal = await self.verifier.verify(token.strip())
        except InvalidToken as error:
            raise _invalid_token(error.reason) from error
        audit_trail.identify(principal.subject)
        if not self.revocations.ready:
            detail = "It is not known which tokens are revoked"
            raise Problem(Kind.NOT_READY, detail, missing=["revocations"])
        if self.revocations.is_revoked(principal):
            raise _invalid_token("The token was revoked")
        return principal


async def bearer(request: Request, authorization: Annotated[str | None, Security(_scheme)]) -> Principal:
    """The principal of the request's access token; any scopes."""
    authn: Authn = request.app.state.authn
    principal = await authn.authenticate(authorization or "")
    try:
        authn.certificates.check(request.headers, principal.subject)
    except Uncertified as error:
        raise _invalid_token(str(error)) from None  # RFC 8705, section 3
    structlog.contextvars.bind_contextvars(subject=principal.subject)
    return principal


def require(*scopes: str) -> Callable[[Principal], Awaitable[Principal]]:
    """A dependency like `bearer` that also wants every one of these scopes; else 403."""

    async def authorized(principal: Annotated[Principal, Security(bearer, scopes=scopes)]) -> Principal:
        if principal.scopes.issuperset(scopes):
            return principal
        raise insufficient_scope(*scopes)

    return authorized


def insufficient_scope(*scopes: str) -> Problem:
    """The problem to raise where a token lacks scopes (RFC 6750, section 3.1)."""
    wanted = " ".join(scopes)
    challenge = f'{REALM}, error="insufficient_scope", scope="{wanted}"'
    detail = f"This needs a token with the scope {wanted}"
    return Problem(Kind.FORBIDDEN, detail, headers={"WWW-Authenticate": challenge}, required_scope=wanted)


def _invalid_token(reason: str) -> Problem:
    challenge = f'{REALM}, error="invalid_token", error_description="{reason}"'
    return Problem(Kind.UNAUTHORIZED, reason, headers={"WWW-Authenticate": challenge})
