"""Running one process: an HTTP application until SIGTERM, then drained."""

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from libs.common.settings import ConfigurationError, Settings
from libs.common.telemetry import configure_logging
from libs.common.tracing import configure_tracing

KEEP_ALIVE = 30  # seconds that an idle connection is kept
Build = Callable[[Settings], FastAPI]


def load_settings() -> Settings:
    """Settings from the environment and `.env`. Raises ConfigurationError that names each setting and what is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])).upper() or 'settings'} {e['msg']}" for e in error.errors()]
        raise ConfigurationError("; ".join(lines)) from None


def run(build: Build, port: Callable[[Settings], int]) -> NoReturn:
    """Serve the application of the settings until SIGTERM or SIGINT. Exits with 0 after a drain, with 2 and one line
    on standard error when the settings cannot work."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)  # uvicorn raises the signal again after its drain
    try:
        settings = load_settings()
        configure_logging(settings)
        app = build(settings)
        configure_tracing(app.title.lower().replace(" ", "-"), app.version)
        config = uvicorn_config(settings, app, port(settings))
    except ConfigurationError as error:
        print(f"configuration error: {error}", file=sys.stderr)
        sys.exit(2)
    server = uvicorn.Server(config)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(server.serve())
    sys.exit(0 if server.started else 1)


def uvicorn_config(settings: Settings, app: FastAPI, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=int(settings.drain_timeout),
    )


def _leave(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(0)
