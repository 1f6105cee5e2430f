"""Device secrets: made once, shown once, kept as salted hashes."""

import hashlib
import hmac
import secrets

from pydantic import BaseModel, ConfigDict, Field

SECRET_BYTES = 32  # of randomness


class SecretHash(BaseModel):
    """A secret as it is stored.

    HMAC-SHA256, and not argon2 or scrypt, on purpose: those make guessing slow where people choose passwords.
    These secrets are 256 random bits that nobody can guess at any speed, and a slow hash would only let a fleet
    that renews its tokens at once (or anyone who sends wrong secrets) take the service down.
    """

    model_config = ConfigDict(frozen=True)

    salt: str = Field(description="Hex.", repr=False, pattern="^([0-9a-f]{2})+$")
    hash: str = Field(description="HMAC-SHA256 of the secret under the salt.", repr=False, pattern="^[0-9a-f]{64}$")
    expires_at: float | None = Field(
        None, allow_inf_nan=False, description="Seconds since the epoch, exclusive; none for the current secret."
    )

    def matches(self, secret: str, now: float) -> bool:
        """In time that does not depend on the secret. `now` is in seconds since the epoch."""
        return self.is_of(secret) and not self.expired(now)

    def is_of(self, secret: str) -> bool:
        """Whether it is the hash of this secret, expired or not."""
        return hmac.compare_digest(_digest(self.salt, secret), self.hash)

    def expired(self, now: float) -> bool:
        return self.expires_at is not None and now >= self.expires_at

    def until(self, moment: float) -> "SecretHash":
        """The same secret, valid until that moment at most."""
        expires_at = moment if self.expires_at is None else min(moment, self.expires_at)
        return self.model_copy(update={"expires_at": expires_at})


def new_secret() -> tuple[str, SecretHash]:
    """A secret (43 characters, URL-safe) and what to store of it."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    salt = secrets.token_hex(16)
    return secret, SecretHash(salt=salt, hash=_digest(salt, secret), expires_at=None)


def _digest(salt: str, secret: str) -> str:
    # surrogatepass: a client may send any characters, and they are just a wrong secret.
    return hmac.digest(bytes.fromhex(salt), secret.encode("utf-8", "surrogatepass"), hashlib.sha256).hex()


# What the secrets of unknown clients are compared with, so that they take the time that wrong secrets take.
NOBODY = new_secret()[1]
