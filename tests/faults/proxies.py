"""Toxiproxy (https://github.com/Shopify/toxiproxy): TCP proxies between the processes, which can be made bad."""

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testcontainers.core.container import DockerContainer

from tests.backends import docker_available
from tests.ports import free_port

IMAGE = "ghcr.io/shopify/toxiproxy:2.12.0"
READY_TIMEOUT = 30  # seconds


@dataclass(frozen=True)
class Toxic:
    """What is done to a direction of a link: `upstream` is towards the server. See toxiproxy's README for attributes.

    `toxicity`: the share of connections that it is done to."""

    type: str
    stream: str
    attributes: dict[str, int]
    toxicity: float = 1.0


@dataclass(frozen=True)
class Toxiproxy:
    """A running toxiproxy; `api` is its control port. All calls block, for milliseconds."""

    api: int

    def proxy(self, name: str, upstream: str) -> int:
        """A new proxy to host:port; the port that it listens on."""
        port = free_port()
        self._call("POST", "/proxies", {"name": name, "listen": f"127.0.0.1:{port}", "upstream": upstream})
        return port

    @contextmanager
    def toxic(self, name: str, *toxics: Toxic) -> Iterator[None]:
        """Make a link bad while the context lasts; connections that are open already too."""
        for number, toxic in enumerate(toxics):
            self._call("POST", f"/proxies/{name}/toxics", {"name": str(number), **vars(toxic)})
        try:
            yield
        finally:
            for number, _ in enumerate(toxics):
                self._call("DELETE", f"/proxies/{name}/toxics/{number}")

    def cut(self, name: str) -> None:
        """Close every connection of a link; new ones are taken again."""
        for enabled in (False, True):
            self._call("POST", f"/proxies/{name}", {"enabled": enabled})

    def is_ready(self) -> bool:
        with contextlib.suppress(urllib.error.URLError, OSError):
            self._call("GET", "/version")
            return True
        return False

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.api}{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()


def toxiproxy_binary() -> str | None:
    """The program that `.ci/prepare-faults` built, or one on the PATH."""
    return os.environ.get("HIPER_TOXIPROXY") or shutil.which("toxiproxy-server")


@contextmanager
def toxiproxy(log: Path) -> Iterator[Toxiproxy | None]:
    """A toxiproxy: the program, else its container; None where there is neither."""
    server = Toxiproxy(free_port())
    if binary := toxiproxy_binary():
        with log.open("wb") as output:
            process = subprocess.Popen([binary, "-port", str(server.api)], stdout=output, stderr=output)
        try:
            _wait(server)
            yield server
        finally:
            process.kill()
            process.wait()
    elif docker_available() and (container := _started_container(server.api)):
        try:
            _wait(server)
            yield server
        finally:
            container.stop()
    else:
        yield None


def _started_container(port: int) -> DockerContainer | None:
    container = DockerContainer(IMAGE, command=f"-port {port}", network_mode="host")
    try:
        return container.start()
    except Exception:  # whatever the engine says: the image cannot be had
        return None


def _wait(server: Toxiproxy) -> None:
    deadline = time.monotonic() + READY_TIMEOUT
    while not server.is_ready():
        assert time.monotonic() < deadline, "toxiproxy does not answer"
        time.sleep(0.05)
