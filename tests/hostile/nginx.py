"""nginx in front of a server, with one kept connection to it that all clients share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.hostile.messages import SUBJECT
from tests.nginx import nginx

# Upgrade is passed on as the pages about WebSockets and the ingress controllers have it.
HTTP = """
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream hiper {{ server 127.0.0.1:{upstream}; keepalive 1; }}
"""
SERVER = """
        ignore_invalid_headers off;
        underscores_in_headers on;
        client_body_timeout 2s;
        client_max_body_size 0;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
        proxy_set_header {subject} CN=edge;
        proxy_request_buffering {buffering};
        location / {{ proxy_pass http://hiper; }}
"""


@contextmanager
def nginx_before(upstream: int, directory: Path, *, buffering: bool) -> Iterator[int]:
    """The port of an nginx before the server at this port; access.log in the directory names what it passed on."""
    server = SERVER.format(subject=SUBJECT, buffering="on" if buffering else "off")
    with nginx(directory, server, HTTP.format(upstream=upstream)) as port:
        yield port
