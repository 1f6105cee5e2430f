"""Which proxy the environment names, and that every request takes that way."""

import re
from base64 import b64encode
from pathlib import Path

import pytest
from yarl import URL

from libs.client import HiperClient, HiperError, console
from libs.client.proxies import exposure, proxy_for
from tests.unit.client.conftest import ADMIN_SECRET
from tests.unit.client.forward_proxy import ForwardProxy
from tests.unit.client.live import LiveServer
from tests.unit.client.tls_edge import Tls

SERVER = "https://files.example:8443"


@pytest.fixture(autouse=True)
def _no_proxy_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("server", "env", "proxy"),
    [
        (SERVER, {}, None),
        (SERVER, {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        (SERVER, {"https_proxy": "http://p:1", "HTTPS_PROXY": "http://q:2"}, "http://p:1"),
        (SERVER, {"HTTP_PROXY": "http://p:1"}, None),
        ("http://files.example", {"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ("http://files.example", {"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, None),  # CVE-2016-1000110
        (SERVER, {"ALL_PROXY": "http://p:1"}, "http://p:1"),
        (SERVER, {"all_proxy": "http://p:1", "https_proxy": "https://u:s@q:2"}, "https://u:s@q:2"),
        (SERVER, {"https_proxy": "p:1"}, "http://p:1"),
        (SERVER, {"https_proxy": ""}, None),
    ],
)
def test_the_proxy_is_the_one_of_the_scheme_or_that_of_all(
    server: str, env: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(server) == (URL(proxy) if proxy else None)


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize(
    ("server", "no_proxy", "direct"),
    [
        (SERVER, "other.example", False),
        (SERVER, "other.example, files.example", True),
        (SERVER, ".example", True),
        (SERVER, "example", True),
        (SERVER, "ample", False),
        (SERVER, "FILES.example:8443", True),
        (SERVER, "files.example:443", False),
        (SERVER, "*", True),
        ("https://10.1.2.3", "10.0.0.0/8", True),
        ("https://11.1.2.3", "10.0.0.0/8,::/0", False),
        ("https://[fd00::7]:8443", "fd00::/8", True),
        ("https://[fd00::7]:8443", "fd00::7", True),
        ("http://localhost:8000", "", True),
        ("http://127.0.0.1:8000", "", True),
        ("http://[::1]:8000", "", True),
    ],
)
def test_no_proxy_and_this_machine_are_reached_directly(
    server: str, no_proxy: str, direct: bool, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://p:1")
    monkeypatch.setenv(name, no_proxy)
    assert (proxy_for(server) is None) == direct


@pytest.mark.parametrize("value", ["socks5h://user:secret@p:1", "http://", "http://p:port", "ftp://p"])
def test_a_proxy_that_cannot_be_used_is_an_error_that_shows_no_secret(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    with pytest.raises(HiperError, match="cannot use the proxy") as caught:
        proxy_for(SERVER)
    assert "secret" not in str(caught.value)
    assert "no_proxy" in caught.value.hint


@pytest.mark.parametrize(
    ("server", "proxy", "read_by"),
    [
        (SERVER, None, ""),
        (SERVER, "http://me:secret@p:1", ""),
        ("http://localhost:8000", None, ""),
        ("http://files.example", None, "sends the secret unencrypted"),
        (
            "http://files.example",
            "http://me:secret@p:1",
            "to the proxy p:1 .* add files.example to no_proxy",
        ),
        ("http://files.example", "https://p", "to the proxy p:443 "),
    ],
)
def test_it_is_said_who_can_read_the_secret_on_its_way(server: str, proxy: str | None, read_by: str) -> None:
    said = exposure(server, URL(proxy) if proxy else None)
    assert bool(said) == bool(read_by)
    assert re.search(read_by, said)
    assert "me:" not in said


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_every_command_warns_of_a_proxy_that_can_read_the_secret(
    scheme: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether or not anybody logged in: id and secret may come from the environment."""
    known = {"SERVER": f"{scheme}://files.invalid", "DEVICE_ID": "car-7", "DEVICE_SECRET": "s" * 32}
    for name, value in known.items():
        monkeypatch.setenv(f"HIPER_{name}", value)
    monkeypatch.setenv("ALL_PROXY", "http://p:1")
    console.client()
    shown = capsys.readouterr()
    assert ("warning: http:// shows the secret to the proxy p:1" in shown.err) == (scheme == "http")
    assert shown.out == ""


async def test_every_request_goes_through_the_proxy(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    login = b64encode(b"me:secret").decode()
    far = "http://files.invalid:8000"
    async with ForwardProxy(server.port, login=f"Proxy-Authorization: Basic {login}") as proxy:
        monkeypatch.setenv("http_proxy", f"http://me:secret@{proxy.address}")
        async with HiperClient(far, "admin", ADMIN_SECRET, proxy=proxy_for(far), retry_for=10) as client:
            assert (await client.upload(b"x" * 100_000, "f")).status == "complete"
        assert f"POST {far}/token HTTP/1.1" in proxy.asked
        assert f"POST {far}/upload?filename=f&total_size=100000 HTTP/1.1" in proxy.asked


async def test_https_goes_through_a_tunnel_that_the_proxy_cannot_look_into(server: LiveServer, tmp_path: Path) -> None:
    tls = Tls(server, tmp_path)
    async with tls as port, ForwardProxy(port) as proxy:
        way = URL(f"http://{proxy.address}")
        async with HiperClient(
            "https://files.invalid", "admin", ADMIN_SECRET, proxy=way, tls=tls.trust, retry_for=10
        ) as client:
            await client.verify()
            assert (await client.upload(b"x", "f")).status == "complete"
        assert set(proxy.asked) == {"CONNECT files.invalid:443 HTTP/1.1"}


@pytest.mark.parametrize("far", ["http://files.invalid", "https://files.invalid"])
async def test_a_proxy_that_asks_for_a_login_is_said_and_not_asked_again(server: LiveServer, far: str) -> None:
    async with ForwardProxy(server.port, login="Proxy-Authorization: Basic") as proxy:
        way = URL(f"http://{proxy.address}")
        async with HiperClient(far, "admin", ADMIN_SECRET, proxy=way, retry_for=30) as client:
            with pytest.raises(HiperError, match="407") as caught:
                await client.status("f")
        assert len(proxy.asked) == 1
    assert "proxy" in caught.value.hint


async def test_a_proxy_that_is_away_is_named(server: LiveServer) -> None:
    async with ForwardProxy(server.port) as proxy:
        way = URL(f"http://me:secret@{proxy.address}")
    async with HiperClient("https://files.invalid", "admin", "s", proxy=way, retry_for=0) as client:
        with pytest.raises(HiperError, match=f"the proxy {proxy.address}: Connection refused") as caught:
            await client.verify()
    assert "secret" not in str(caught.value)
