"""Who may ask for tokens: the devices, and `admin`, whose secret is a setting."""

import hmac
from collections.abc import Sequence
from typing import NamedTuple

from libs.common import audit_trail
from libs.common.allowance import DEFAULT_CLASS
from libs.common.authn import ADMIN, SCOPES
from libs.common.clock import Clock
from services.auth.client_secrets import NOBODY
from services.auth.devices import Devices
from services.auth.models import ADMIN_ID


class Client(NamedTuple):
    """`by_default`: the scopes of a token for which the client names none; at most `scopes`."""

    client_id: str
    scopes: frozenset[str]
    by_default: frozenset[str]
    tokens_from: int = 0  # least `iat` of its tokens, in seconds since the epoch
    device_class: str = DEFAULT_CLASS


class Clients:
    """Authenticates clients."""

    def __init__(self, devices: Devices, admin_secret: str, clock: Clock) -> None:
        """An empty `admin_secret`: there is no admin."""
        self._devices = devices
        self._admin_secret = admin_secret.encode()
        self._clock = clock

    async def authenticate(self, client_id: str, secrets: Sequence[str]) -> Client | None:
        """The client, if one of the secrets is its own; else None, after the same work for an unknown client as
        for a wrong secret. Raises StoreUnavailable."""
        if client_id == ADMIN_ID:
            audit_trail.identify(ADMIN_ID)
            return self._admin(secrets)
        return await self._device(client_id, secrets)

    def _admin(self, secrets: Sequence[str]) -> Client | None:
        given = [secret.encode("utf-8", "surrogatepass") for secret in secrets]
        matches = [hmac.compare_digest(secret, self._admin_secret) for secret in given]
        if not self._admin_secret or not any(matches):
            return None
        return Client(ADMIN_ID, frozenset(SCOPES), by_default=frozenset({ADMIN}))

    async def _device(self, client_id: str, secrets: Sequence[str]) -> Client | None:
        device = await self._devices.find(client_id)
        if device is not None:
            audit_trail.identify(device.device_id)
        now = self._clock.time()
        stored = device.secrets if device else [NOBODY]
        matches = [hashed.matches(secret, now) for hashed in stored for secret in secrets]
        if device is None or not any(matches):
            return None
        scopes = frozenset(device.scopes)
        return Client(device.device_id, scopes, scopes, device.tokens_from, device.device_class)
