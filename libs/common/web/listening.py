"""The sockets that a server listens on, of IPv4 and of IPv6 where the machine has both."""

import errno
import os
import socket
from typing import Any

from libs.common.settings import ConfigurationError

BOTH_FAMILIES = {"localhost": ("127.0.0.1", "::1"), "::": ("0.0.0.0", "::")}  # noqa: S104  # it is what HOST asks for
_FAMILY_IS_OFF = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}


def listen(host: str, *ports: int) -> list[socket.socket]:
    """For each port a socket at each address of the host, bound and not listening yet. Port 0: one that is free.

    `localhost` and `::` have an address of each family; one whose family the machine lacks is left out. A socket takes
    one family only: the log then has a client's IPv4 address as such, whatever `net.ipv6.bindv6only` is. Raises
    ConfigurationError.
    """
    sockets = list[socket.socket]()
    try:
        for port in ports:
            sockets += _at_each_address(host, port)
    except BaseException:
        _close(sockets)
        raise
    return sockets


def url_of(host: str, port: int) -> str:
    """The URL by which a client on this machine reaches what listens at the host."""
    reached = {"::": "localhost", "0.0.0.0": "127.0.0.1"}.get(host, host)  # noqa: S104
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def _at_each_address(host: str, port: int) -> list[socket.socket]:
    sockets, absent = list[socket.socket](), None
    for family, address in _addresses(host):
        try:
            sockets.append(_bound(family, address, port))
        except OSError as error:
            if error.errno not in _FAMILY_IS_OFF:
                _close(sockets)
                raise _refusal(host, port, error) from None
            absent = error
        else:
            port = sockets[0].getsockname()[1]
    if absent and not sockets:
        raise _refusal(host, port, absent)
    return sockets


def _addresses(host: str) -> list[tuple[int, tuple[Any, ...]]]:
    """Families and addresses with port 0; of IPv6 with the zone that `fe80::1%eth0` names."""
    try:
        found = [
            entry
            for address in BOTH_FAMILIES.get(host, (host,))
            for entry in socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        ]
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"HOST: {host!r} is no address and no name of this machine ({error})") from None
    return list(dict.fromkeys((int(family), address) for family, _, _, _, address in found))


def _bound(family: int, address: tuple[Any, ...], port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # on Windows it would let two programs share a port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address[0], port, *address[2:]))
    except BaseException:
        made.close()
        raise
    return made


def _refusal(host: str, port: int, error: OSError) -> ConfigurationError:
    why = os.strerror(error.errno or 0)
    return ConfigurationError(f"cannot listen at HOST={host}, port {port}: {why}. Choose another HOST or port")


def _close(sockets: list[socket.socket]) -> None:
    for made in sockets:
        made.close()
