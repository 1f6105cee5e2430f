"""No webhook leads into the deployment's own network, however its address is written or its name is looked up."""

import asyncio
import ipaddress
import socket
from typing import Any

import pytest

from libs.common.webhooks.sending import Attempt, open_sender
from libs.common.webhooks.signing import new_secret
from libs.common.webhooks.targets import CheckedResolver, TargetRefused, Targets
from tests.webhooks.receiver import Receiver

PUBLIC = Targets()
INSIDE = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254",
    "169.254.0.1", "192.0.0.192", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a9fe:a9fe::1",
    "2001:db8::1",
]  # fmt: skip
OUTSIDE = ["93.184.216.34", "8.8.8.8", "2606:4700::6810:85e5", "64:ff9b::808:808", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(TargetRefused):
        PUBLIC.check(ipaddress.ip_address(address))
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(TargetRefused):
        PUBLIC.check_url(f"https://{host}/hook")


@pytest.mark.parametrize("address", OUTSIDE)
def test_a_public_address_is_taken(address: str) -> None:
    PUBLIC.check(ipaddress.ip_address(address))
    PUBLIC.check_url(f"https://[{address}]/" if ":" in address else f"https://{address}/")


def test_a_setting_allows_networks_and_no_others() -> None:
    allowed = Targets.of("10.20.0.0/16, fd00:1::/32", http=False)
    allowed.check_url("https://10.20.3.4:8443/hook")
    allowed.check_url("https://[fd00:1::7]/hook")
    for address in ("10.21.0.1", "127.0.0.1", "169.254.169.254"):
        with pytest.raises(TargetRefused):
            allowed.check_url(f"https://{address}/")


@pytest.mark.parametrize(
    "url",
    [
        "", "hook", "//example.com/", "http://example.com/", "ftp://example.com/", "file:///etc/passwd",
        "gopher://example.com/", "https://", "https:///x", "https://user@example.com/", "https://u:p@example.com/",
        "https://example.com/#x", "https://example.com\\@127.0.0.1/", "https://exa mple.com/",
        "https://example.com/\r\nX: 1", "https://example.com:99999/", "https://example.com:x/", "https://[::1", "https://2130706433/",
        "https://017700000001/", "https://0177.0.0.1/", "https://127.1/", "https://127.0.0.1./", "https://127%2e0.0.1/",
        "https://\uff11\uff12\uff17.0.0.1/", "https://[fe80::1%25eth0]/", "https://example.com/" + "a" * 2048,
    ],
)  # fmt: skip
def test_a_url_that_is_never_allowed_is_refused(url: str) -> None:
    with pytest.raises(TargetRefused):
        PUBLIC.check_url(url)


def answers(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """The DNS server tells these addresses; the names that are asked for."""
    asked = list[str]()

    async def getaddrinfo(host: str, port: int, **kwargs: Any) -> list[tuple[Any, ...]]:
        asked.append(host)
        found = addresses[min(len(asked), len(addresses)) - 1] if len(addresses) > 1 else addresses[0]
        family = socket.AF_INET6 if ":" in found else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (found, port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::ffff:10.0.0.1", "fd00::1"])
async def test_a_name_that_leads_inside_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    answers(monkeypatch, address)
    with pytest.raises(TargetRefused):
        await CheckedResolver(PUBLIC).resolve("innocent.example.com", 443)


@pytest.mark.parametrize("name", ["0x7f.1", "0x7f000001", "localhost", "127.0.0.1.nip.example"])
async def test_a_name_that_the_machine_itself_reads_as_an_address_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name.endswith(".example"):
        answers(monkeypatch, "127.0.0.1")
    with pytest.raises(TargetRefused):
        await CheckedResolver(PUBLIC).resolve(name, 443)


async def test_a_name_is_looked_up_once_and_the_connection_goes_to_that_address(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the second look-up would lead elsewhere."""
    asked = answers(monkeypatch, "127.0.0.1", "127.0.0.99")
    attempt = await attempted(f"http://hooks.example.com:{receiver.port}/", Targets.of("127.0.0.1", http=True))
    assert attempt == Attempt(204)
    assert asked == ["hooks.example.com"]


async def test_what_a_name_leads_to_is_checked_for_each_connection(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, "127.0.0.1")
    attempt = await attempted(f"http://hooks.example.com:{receiver.port}/", Targets(http=True))
    assert attempt.status is None
    assert "127.0.0.1 is not a public address" in attempt.error
    assert receiver.got == []


async def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.answer = lambda n: (302, {"Location": f"http://127.0.0.1:{receiver.port}/inside"})
    attempt = await attempted(receiver.url, Targets.of("127.0.0.0/8", http=True))
    assert (attempt.status, attempt.error) == (302, "answered 302: redirects are not followed")
    assert len(receiver.got) == 1


async def test_no_proxy_of_the_environment_is_asked(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert await attempted(receiver.url, Targets.of("127.0.0.0/8", http=True)) == Attempt(204)


async def test_a_receiver_that_sends_without_end_is_not_read(receiver: Receiver) -> None:
    receiver.endless = True
    attempt = await attempted(receiver.url, Targets.of("127.0.0.0/8", http=True))
    assert attempt.accepted


@pytest.mark.parametrize("header", ["-1", "1e9", "nan", "Tue, 01 Dec 2026 00:00:00 GMT", "9" * 400, "٣"])
async def test_a_pause_that_cannot_be_read_is_none(receiver: Receiver, header: str) -> None:
    receiver.answer = lambda n: (429, {"Retry-After": header})
    attempt = await attempted(receiver.url, Targets.of("127.0.0.0/8", http=True))
    assert (attempt.status, attempt.pause) == (429, 0.0)


async def test_a_pause_is_an_hour_at_most(receiver: Receiver) -> None:
    receiver.answer = lambda n: (503, {"Retry-After": "999999999"})
    assert (await attempted(receiver.url, Targets.of("127.0.0.0/8", http=True))).pause == 3600.0


async def attempted(url: str, allowed: Targets) -> Attempt:
    async with open_sender(allowed) as sender:
        return await sender.send(url, new_secret(), "message-1", 1_800_000_000, b"{}")
