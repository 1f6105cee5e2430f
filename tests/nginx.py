"""nginx in front of a server of a test."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import free_port

BINARY = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
# As root, whose temporary directories no other user may enter.
CONFIGURATION = """
user root root;
worker_processes 1;
daemon off;
pid {directory}/pid;
error_log {directory}/error.log;
events {{ }}
http {{
    {temporary}
    log_format forwarded '$request_method $request_uri $upstream_status';
    access_log {directory}/access.log forwarded;
    {http}
    server {{
        listen 127.0.0.1:{port};
        proxy_http_version 1.1;
        {server}
    }}
}}
"""


@contextmanager
def nginx(directory: Path, server: str, http: str = "") -> Iterator[int]:
    """The port of an nginx with these directives; access.log in the directory names what it passed on."""
    if BINARY is None:
        if os.environ.get("E2E") == "required":
            pytest.fail("E2E=required, but nginx is not installed (Debian: apt-get install nginx-light)")
        pytest.skip("needs nginx (Debian: apt-get install nginx-light)")
    port = free_port()
    temporary = "".join(f"{kind}_temp_path {directory}/{kind};" for kind in TEMPORARY)
    configuration = CONFIGURATION.format(directory=directory, temporary=temporary, port=port, server=server, http=http)
    (directory / "nginx.conf").write_text(configuration)
    process = subprocess.Popen([BINARY, "-p", str(directory), "-c", str(directory / "nginx.conf")])
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def whole_requests(upstream: str, directory: Path) -> Iterator[int]:
    """The port of an nginx before a store at this address: it takes a request whole before it hands it on
    (docs/operations.md, Before the start)."""
    server = f"""
        client_max_body_size 0;
        proxy_request_buffering on;
        proxy_set_header Host $http_host;
        proxy_pass_header Date;
        proxy_next_upstream off;
        location / {{ proxy_pass http://{upstream}; }}
    """
    with nginx(directory, server) as port:
        yield port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while True:
        assert process.poll() is None, "nginx ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "nginx does not listen"
            time.sleep(0.05)
