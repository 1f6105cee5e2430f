"""The address of a server, as people write it."""

import re

from yarl import URL

from libs.client.errors import HiperError

_ZONE = re.compile(r"%25(?=[^/\]]*\])")  # in front of the zone of an IPv6 address (RFC 6874, section 2)


def check_server(server: str) -> str:
    """The address of a server without a slash at its end; a path in front of the server's routes is kept.

    The zone of an IPv6 address follows a bare `%`, as the system's resolver wants it. Raises HiperError if it is no
    such address; no message shows a password."""
    if "@" in server:
        raise HiperError(
            "the address of a server cannot hold a user and a password: a request has one Authorization field, for the "
            "device's token",
            "leave them out: HIPER_DEVICE_ID and HIPER_DEVICE_SECRET, or hiper login, say who you are",
        )
    try:
        url = URL(server)
        fine = url.scheme in {"http", "https"} and bool(url.host) and not url.query_string and not url.fragment
        fine = fine and url.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise HiperError(f"{server!r} is not the address of a server", "it looks like https://host:port")
    return _ZONE.sub("%", server).rstrip("/")


def host_field(server: str) -> dict[str, str]:
    """The Host field, where the address has a zone: that means nothing to the server (RFC 6874, section 4)."""
    url = URL(server)
    host, percent, _ = (url.host or "").partition("%")
    if not percent:
        return {}
    return {"Host": f"[{host}]" if url.is_default_port() else f"[{host}]:{url.port}"}
