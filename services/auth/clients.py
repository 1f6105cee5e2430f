"""Who may ask for tokens: the devices, and the clients whose secret is a setting."""

import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from libs.common.clock import Clock
from libs.common.security import audit_trail
from libs.common.security.allowance import DEFAULT_CLASS
from libs.common.security.authn import ADMIN, FILES_READ, FILES_WRITE, SCOPES
from services.auth.client_secrets import NOBODY, SecretHash
from services.auth.devices import Devices
from services.auth.models import Device
from services.auth.namesakes import ADMIN_ID, TEST_DEVICE_ID

_SECRETS = 2  # that are compared at least: a device has the current one and, for a while, the one before
# Read in place of a device that is not there, so that time does not tell known ids.
_NO_DEVICE = Device(
    device_id="nobody",
    scopes=["files:read", "files:write"],
    created_at=datetime.fromtimestamp(0, UTC),
    secrets=[NOBODY],
).model_dump_json()


class Client(NamedTuple):
    """`by_default`: the scopes of a token for which the client names none; at most `scopes`. `proven_by`: the secret
    of a device that was right."""

    client_id: str
    scopes: frozenset[str]
    by_default: frozenset[str]
    tokens_from: int = 0  # least `iat` of its tokens, in seconds since the epoch
    device_class: str = DEFAULT_CLASS
    proven_by: SecretHash | None = None


ADMINISTRATOR = Client(ADMIN_ID, frozenset(SCOPES), by_default=frozenset({ADMIN}))
TEST_DEVICE = Client(
    TEST_DEVICE_ID, frozenset({FILES_READ, FILES_WRITE}), by_default=frozenset({FILES_READ, FILES_WRITE})
)


class Clients:
    """Authenticates clients."""

    def __init__(self, devices: Devices, fixed: Mapping[Client, str], clock: Clock) -> None:
        """`fixed`: clients that are not registered, and their secrets. An empty secret: there is no such client."""
        self._devices = devices
        self._fixed = {client.client_id: (client, secret.encode()) for client, secret in fixed.items()}
        self._clock = clock

    async def authenticate(self, client_id: str, secrets: Sequence[str]) -> Client | None:
        """The client, if one of the secrets is its own; else None, after the same work for an unknown client as
        for a wrong secret. Raises StoreUnavailable."""
        if client_id in self._fixed:
            return await self._of_settings(client_id, secrets)
        return await self._device(client_id, secrets)

    async def _of_settings(self, client_id: str, secrets: Sequence[str]) -> Client | None:
        client, own = self._fixed[client_id]
        given = [secret.encode("utf-8", "surrogatepass") for secret in secrets]
        matches = [hmac.compare_digest(secret, own) for secret in given]
        if not own or not any(matches):
            return None
        return client._replace(tokens_from=await self._devices.tokens_from(client_id))

    async def _device(self, client_id: str, secrets: Sequence[str]) -> Client | None:
        device = await self._devices.find(client_id)
        if device is not None:
            audit_trail.identify(device.device_id)
        known = device or Device.model_validate_json(_NO_DEVICE)
        now = self._clock.time()
        stored = [*known.secrets, *[NOBODY] * (_SECRETS - len(known.secrets))]
        matches = [hashed for hashed in stored for secret in secrets if hashed.matches(secret, now)]
        if device is None or not matches:
            return None
        scopes = frozenset(device.scopes)
        return Client(device.device_id, scopes, scopes, device.tokens_from, device.device_class, matches[0])
