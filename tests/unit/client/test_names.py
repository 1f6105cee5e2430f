"""How files are addressed."""

import pytest

from libs.client.address import check_server, host_field
from libs.client.errors import HiperError
from libs.client.names import RemoteFile


def test_a_name_is_percent_encoded_but_for_its_slashes() -> None:
    assert RemoteFile("drives/2026 1/a%2Fb").path == "/files/drives/2026%201/a%252Fb"
    assert RemoteFile("a b?c#d%2F\"'ä;=&.bin").path == "/files/a%20b%3Fc%23d%252F%22%27%C3%A4%3B%3D%26.bin"


def test_the_owner_is_asked_for_only_if_given() -> None:
    assert RemoteFile("f").query == {}
    assert RemoteFile("f", "fleet").query == {"owner": "fleet"}


@pytest.mark.parametrize("name", ["", ".", "..", "/a", "a/", "a//b", "a/../b", "../a", "/", "bad\udcff"])
def test_what_no_address_can_carry_is_refused_before_anything_is_sent(name: str) -> None:
    with pytest.raises(HiperError):
        RemoteFile.of(name, None)


def test_a_name_is_composed_as_the_server_wants_it() -> None:
    assert RemoteFile.of("Gro\u0308\u00dfe", "car-7") == RemoteFile("Gr\u00f6\u00dfe", "car-7")


@pytest.mark.parametrize("server", ["http://h", "https://h:8443/base", "http://[::1]:8000", "http://h/"])
def test_a_server_is_an_http_address(server: str) -> None:
    assert check_server(server) == server.rstrip("/")


def test_the_zone_of_an_address_is_written_as_the_resolver_wants_it_and_not_sent_to_the_server() -> None:
    assert check_server("http://[fe80::1%25eth0]:8000") == "http://[fe80::1%eth0]:8000"
    assert check_server("http://[fe80::1%eth0]/a%25b") == "http://[fe80::1%eth0]/a%25b"
    assert host_field("http://[fe80::1%eth0]:8000") == {"Host": "[fe80::1]:8000"}
    assert host_field("https://[fe80::1%eth0]") == {"Host": "[fe80::1]"}
    assert host_field("http://[fe80::1]:8000") == host_field("http://h:8000") == {}


@pytest.mark.parametrize("server", ["https://me:secret@h", "https://secret@h:8443/base", "htp://me:secret@h"])
def test_credentials_in_an_address_are_refused_and_not_shown(server: str) -> None:
    with pytest.raises(HiperError, match="cannot hold a user and a password") as caught:
        check_server(server)
    assert "secret" not in str(caught.value).replace("HIPER_DEVICE_SECRET", "")


@pytest.mark.parametrize(
    "server", ["", "h:8000", "ftp://h", "http://", "http://h:port", "http://h:0", "http://h/?q=1", "http://h/#f"]
)
def test_anything_else_is_refused(server: str) -> None:
    with pytest.raises(HiperError, match="not the address of a server"):
        check_server(server)
