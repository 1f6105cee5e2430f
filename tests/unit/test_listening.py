"""Servers listen on IPv4 and on IPv6, where the machine has both."""

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from libs.common.settings import ConfigurationError
from libs.common.web.listening import listen, url_of
from tests.ports import free_port
from tests.unit.keyrings import plain_settings


@contextmanager
def listening(host: str, *ports: int) -> Iterator[list[tuple[str, int]]]:
    sockets = listen(host, *ports)
    try:
        yield [made.getsockname()[:2] for made in sockets]
    finally:
        for made in sockets:
            made.close()


def absent(monkeypatch: pytest.MonkeyPatch, family: int, number: int) -> None:
    """A machine without this family: the kernel refuses its sockets, or has no address of it."""

    class Sockets(socket.socket):
        def __init__(self, wanted: int = -1, kind: int = -1, *more: object) -> None:
            if wanted == family and number == errno.EAFNOSUPPORT:
                raise OSError(number, "off")
            super().__init__(wanted, kind)

        def bind(self, address: tuple[object, ...]) -> None:  # type: ignore[override]
            if self.family == family:
                raise OSError(number, "off")
            super().bind(address)

    monkeypatch.setattr(socket, "socket", Sockets)


def test_without_a_setting_a_server_listens_at_both_loopback_addresses() -> None:
    port = free_port()
    with listening(plain_settings().host, port) as addresses:
        assert addresses == [("127.0.0.1", port), ("::1", port)]


def test_two_colons_are_every_address_of_both_families() -> None:
    with listening("::", 0) as addresses:
        (first, port), second = addresses
        assert (first, second) == ("0.0.0.0", ("::", port))


async def test_a_client_of_ipv4_has_its_ipv4_address_there() -> None:
    """Not ::ffff:127.0.0.1, which no list of addresses has."""
    sockets, seen = listen("::", 0), asyncio.Queue[str]()

    async def note(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.put_nowait(writer.get_extra_info("peername")[0])
        writer.close()

    servers = [await asyncio.start_server(note, sock=made) for made in sockets]
    for address in ("127.0.0.1", "::1"):
        _, writer = await asyncio.open_connection(address, sockets[0].getsockname()[1])
        assert await seen.get() == address
        writer.close()
    for server in servers:
        server.close()


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "0.0.0.0"), ("::1", "::1")])
def test_one_address_is_one_address(host: str, address: str) -> None:
    with listening(host, 0) as addresses:
        assert [found for found, _ in addresses] == [address]


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
@pytest.mark.parametrize(
    ("family", "left"), [(socket.AF_INET6, ["127.0.0.1"]), (socket.AF_INET, ["::1"])], ids=["no IPv6", "no IPv4"]
)
def test_a_family_that_the_machine_lacks_is_left_out(
    monkeypatch: pytest.MonkeyPatch, family: int, left: list[str], number: int
) -> None:
    absent(monkeypatch, family, number)
    with listening("localhost", 0) as addresses:
        assert [address for address, _ in addresses] == left


def test_but_not_the_only_one_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    absent(monkeypatch, socket.AF_INET6, errno.EAFNOSUPPORT)
    with pytest.raises(ConfigurationError, match=r"HOST=::1, port 0: .*Choose another HOST or port"):
        listen("::1", 0)


@pytest.mark.parametrize("taken", ["127.0.0.1", "::1"])
def test_a_port_that_is_taken_in_either_family_is_said_and_nothing_is_kept(taken: str) -> None:
    with closing(listen(taken, 0)[0]) as other:
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"HOST=localhost, port {port}: Address already in use"):
            listen("localhost", free := free_port(), port)
        with listening("localhost", free) as addresses:
            assert len(addresses) == 2


def test_a_name_that_is_none_is_said() -> None:
    with pytest.raises(ConfigurationError, match=r"HOST: 'nowhere\.invalid' is no address"):
        listen("nowhere.invalid", 0)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("localhost", "http://localhost:80"),
        ("::", "http://localhost:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::1", "http://[::1]:80"),
        ("10.0.0.7", "http://10.0.0.7:80"),
    ],
)
def test_the_url_that_is_shown_can_be_opened(host: str, url: str) -> None:
    assert url_of(host, 80) == url
