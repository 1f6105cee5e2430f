"""All four services in one process on a directory, behind the HTTP server that they have in production."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from libs.common.settings import Settings
from libs.common.web.serving import uvicorn_config
from services.embedded.app import build_app
from tests.ports import free_port
from tests.unit.ingest.running import make_settings


@contextmanager
def served(directory: Path, **values: object) -> Iterator[tuple[str, Settings]]:
    """The base URL of a running server, and its settings."""
    settings = make_settings(directory, port=free_port(), **values)
    server = uvicorn.Server(uvicorn_config(settings, build_app(settings), settings.port))
    thread = threading.Thread(target=server.run, daemon=True)  # a failed test must end
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < deadline, "the server does not become ready"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{settings.port}", settings
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server does not end"
