"""Running one process: an HTTP application until SIGTERM, then drained."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from libs.common.observability.telemetry import configure_logging, say
from libs.common.observability.tracing import configure_tracing
from libs.common.security.tls import broker_trust
from libs.common.settings import ConfigurationError, Settings
from libs.common.web.drain import Drain
from libs.common.web.http1 import protocol_of
from libs.common.web.listening import listen

KEEP_ALIVE = 30  # seconds that an idle connection is kept
MOST_FILES = 65_536  # of one process
Build = Callable[[Settings], FastAPI]


def load_settings() -> Settings:
    """Settings from the environment and `.env`. Raises ConfigurationError that names each setting and what is wrong."""
    directory = os.environ.get("SECRETS_DIR")
    if directory and not Path(directory).is_dir():
        raise ConfigurationError(f"SECRETS_DIR: {directory} is no directory (e.g. SECRETS_DIR=/run/secrets)")
    try:
        return Settings(_secrets_dir=directory)
    except ValidationError as error:
        raise ConfigurationError("; ".join(_explained(details) for details in error.errors())) from None
    except SettingsError as error:  # of a setting that is JSON
        raise ConfigurationError(f"{error}: it must be JSON".replace("field", "setting")) from None


def _explained(details: ErrorDetails) -> str:
    """Names the setting, says what is wrong, and shows the default as an example."""
    what = details["msg"].removeprefix("Value error, ")
    if below := ".".join(map(str, details["loc"][1:])):
        what = f"{below}: {what}"
    field = str(details["loc"][0]) if details["loc"] else ""
    if not field:
        return what
    default = Settings.model_fields[field].default
    known = isinstance(default, (str, int, float)) and str(default) != ""
    return f"{field.upper()}: {what}" + (f" (e.g. {field.upper()}={default})" if known else "")


def run(build: Build, port: Callable[[Settings], int], *, has_devices: bool = False) -> NoReturn:
    """Serve the application of the settings until SIGTERM or SIGINT. `has_devices`: it has the routes that
    ADMIN_API_PORT is for. Exits with 0 after a drain, with 2 and one line
    on standard error when the settings cannot work."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)  # uvicorn raises the signal again after its drain
    try:
        settings = load_settings()
        configure_logging(settings)
        ports = dict.fromkeys((port(settings), settings.metrics_port or port(settings)))
        sockets = listen(settings.host, *ports)
        if has_devices and settings.admin_api_port:
            sockets += listen(settings.admin_api_host, settings.admin_api_port)
        broker_trust(settings)  # certificates that cannot be read end the process here, not when they are needed
        app = build(settings)
        configure_tracing(app.title.lower().replace(" ", "-"), app.version)
        config = uvicorn_config(settings, app, port(settings))
    except ConfigurationError as error:
        _refuse(error)
    raise_file_limit()
    collect_less()
    server = LingeringServer(config, settings.shutdown_delay, app.state.drain)
    app.state.give_up = server.give_up
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(server.serve(sockets))
    if server.failure:
        _refuse(server.failure)
    sys.exit(0 if server.started else 1)


def _refuse(error: ConfigurationError) -> NoReturn:
    """The settings may not have been read: LOG_FORMAT as the environment has it."""
    say(f"configuration error: {error}", os.environ.get("LOG_FORMAT", ""), "critical")
    sys.exit(2)


class LingeringServer(uvicorn.Server):
    """Goes on serving for `delay` seconds after SIGTERM, with `Connection: close` (RFC 9112, section 9.6) on every
    answer: no client of a kept-alive connection loses a request that was on its way. A second signal ends that."""

    def __init__(self, config: uvicorn.Config, delay: float, drain: Drain) -> None:
        super().__init__(config)
        self._drain = drain
        self._delay = delay
        self._leaves_at: float | None = None  # seconds, monotonic
        self.failure: ConfigurationError | None = None

    def give_up(self, error: ConfigurationError) -> None:
        """Drain and end, because the settings cannot work."""
        self.failure = error
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._leaves_at is not None or sig != signal.SIGTERM or not self._delay:
            super().handle_exit(sig, frame)
            return
        self._captured_signals.append(sig)
        self.config.encoded_headers.append((b"connection", b"close"))
        self._leaves_at = time.monotonic() + self._delay

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._drain.begin(self.config.timeout_graceful_shutdown or 0)
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        if self._leaves_at is not None and time.monotonic() >= self._leaves_at:
            self.should_exit = True
        return await super().on_tick(counter)


def uvicorn_config(settings: Settings, app: FastAPI, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=port,
        http=protocol_of(settings),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        forwarded_allow_ips=settings.forwarded_allow_ips,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=int(settings.drain_timeout),
    )


def raise_file_limit() -> None:
    """Let the process have many files and connections open, as far as the system allows it: each slow upload needs two,
    and the usual 1,024 of the first (soft) limit are for programs that call select(2)."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no such limit
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, MOST_FILES)), hard))


def collect_less() -> None:
    """Look for cycles of garbage after 10,000 objects instead of 700, and never among those of the imports: a request
    leaves few, and looking took one of fourteen seconds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def _leave(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(0)
