"""What the routes work with, built once per process."""

from dataclasses import dataclass

from libs.common.clock import Clock, SystemClock
from libs.common.problems import Kind, Problem
from libs.common.security.allowance import DEFAULT_CLASS
from libs.common.security.revocations import Revocations
from libs.common.security.tokens import TokenIssuer
from libs.common.settings import Settings
from libs.common.storage import Buckets, ObjectStore
from services.auth.attempts import Attempts
from services.auth.clients import ADMINISTRATOR, TEST_DEVICE, Clients
from services.auth.devices import Devices
from services.auth.glances import Glances
from services.auth.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Auth:
    """Expected by the routes at `app.state.auth`. `body_timeout`: seconds in which a whole body must come."""

    issuer: TokenIssuer
    ledger: Ledger
    devices: Devices
    attempts: Attempts
    classes: frozenset[str]
    body_timeout: float
    glances: Glances

    @classmethod
    def build(
        cls,
        settings: Settings,
        store: ObjectStore,
        files: Buckets,
        revocations: Revocations,
        clock: Clock | None = None,
    ) -> "Auth":
        """`store` is the auth bucket, `files` are those of devices; `revocations` is this process's view, shared with
        its `Authn`.
        Raises ConfigurationError when the settings have no usable signing key or storage of limits."""
        clock = clock or SystemClock()
        issuer = TokenIssuer(settings, clock)
        ledger = Ledger(store, revocations, issuer.life, clock)
        devices = Devices(store, files, ledger, settings.secret_overlap, clock)
        fixed = {ADMINISTRATOR: settings.admin_secret, TEST_DEVICE: settings.test_device_secret}
        clients = Clients(devices, {client: secret.get_secret_value() for client, secret in fixed.items()}, clock)
        attempts = Attempts(clients, settings)
        classes = frozenset({DEFAULT_CLASS, *settings.limits_classes})
        glances = Glances(files.perm, settings.limits_classes, clock)
        return cls(issuer, ledger, devices, attempts, classes, settings.body_idle_timeout, glances)

    def known_class(self, name: str) -> str:
        """The name, if it is a class of devices. Raises Problem BAD_REQUEST: a device of a class that does not exist
        would get the limits of `default`."""
        if name not in self.classes:
            known = ", ".join(sorted(self.classes))
            raise Problem(Kind.BAD_REQUEST, f"There is no device class {name!r}. Those of LIMITS_CLASSES are: {known}")
        return name

    async def start(self) -> None:
        await self.ledger.start()

    async def close(self) -> None:
        await self.ledger.close()
