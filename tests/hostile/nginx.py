"""nginx in front of a server, with one kept connection to it that all clients share."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hostile.messages import SUBJECT
from tests.ports import free_port

BINARY = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
# Upgrade is passed on as the pages about WebSockets and the ingress controllers have it.
CONFIGURATION = """
worker_processes 1;
daemon off;
pid {directory}/pid;
error_log {directory}/error.log;
events {{ }}
http {{
    {temporary}
    log_format forwarded '$request_method $request_uri $upstream_status';
    access_log {directory}/access.log forwarded;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream hiper {{ server 127.0.0.1:{upstream}; keepalive 1; }}
    server {{
        listen 127.0.0.1:{port};
        ignore_invalid_headers off;
        underscores_in_headers on;
        client_body_timeout 2s;
        client_max_body_size 0;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
        proxy_set_header {subject} CN=edge;
        proxy_request_buffering {buffering};
        location / {{ proxy_pass http://hiper; }}
    }}
}}
"""


@contextmanager
def nginx_before(upstream: int, directory: Path, *, buffering: bool) -> Iterator[int]:
    """The port of an nginx before the server at this port; access.log in the directory names what it passed on."""
    if BINARY is None:
        if os.environ.get("E2E") == "required":
            pytest.fail("E2E=required, but nginx is not installed (Debian: apt-get install nginx-light)")
        pytest.skip("needs nginx (Debian: apt-get install nginx-light)")
    port = free_port()
    directory.chmod(0o755)
    values = {
        "directory": directory,
        "temporary": "".join(f"{kind}_temp_path {directory}/{kind};" for kind in TEMPORARY),
        "upstream": upstream,
        "port": port,
        "subject": SUBJECT,
        "buffering": "on" if buffering else "off",
    }
    (directory / "nginx.conf").write_text(CONFIGURATION.format(**values))
    process = subprocess.Popen([BINARY, "-p", str(directory), "-c", str(directory / "nginx.conf")])
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(20)


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
