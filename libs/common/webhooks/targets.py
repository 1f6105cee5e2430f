"""Which addresses a webhook may be sent to: no operator's URL, and no DNS server, leads into the deployment's network.

The name is looked up once for each connection, every address is checked, and the connection goes to a checked address.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MAX_URL = 2048  # characters
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address

_SPECIAL = ipaddress.IPv4Network("192.0.0.0/24")  # RFC 6890; some clouds have metadata there. Older Pythons: public


class TargetRefused(ValueError):
    """The address is not one that webhooks may be sent to. The message says why."""


@dataclass(frozen=True)
class Targets:
    """`networks`: addresses that are not public and allowed all the same. `http`: whether URLs without TLS are."""

    networks: Sequence[Network] = ()
    http: bool = False

    @classmethod
    def of(cls, networks: str, *, http: bool) -> "Targets":
        return cls([ipaddress.ip_network(each.strip()) for each in networks.split(",") if each.strip()], http)

    def check_url(self, text: str) -> URL:
        """The URL as the HTTP client reads it. A host name is looked up only when it is called. Raises TargetRefused
        for one that is never allowed."""
        if len(text) > MAX_URL or not text.isascii() or not text.isprintable() or any(c in text for c in " \\#"):
            raise TargetRefused(f"the URL must be printable ASCII without a fragment, at most {MAX_URL} characters")
        try:
            url = URL(text)
            host, _ = url.raw_host or "", url.port
        except ValueError:
            raise TargetRefused("the URL cannot be read") from None
        if url.scheme != "https" and not (self.http and url.scheme == "http"):
            raise TargetRefused("the URL must begin with https://")
        if not host or "%" in url.authority or "@" in url.authority:
            raise TargetRefused("the URL must name a host plainly, without user and password")
        if literal := _literal(host):
            self.check(literal)
        return url

    def check(self, address: Address) -> None:
        """Raises TargetRefused."""
        if not _public(address) and not any(address in network for network in self.networks):
            raise TargetRefused(f"{address} is not a public address, and WEBHOOK_NETWORKS does not allow it")


class CheckedResolver(AbstractResolver):
    """Looks names up, and gives addresses that were checked: what the connection is made to."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises TargetRefused where one of the addresses is not allowed, and OSError."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        results = list[ResolveResult]()
        for kind, _, proto, _, (address, *_) in found:
            self._targets.check(ipaddress.ip_address(str(address)))
            flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
            results.append(
                ResolveResult(hostname=host, host=str(address), port=port, family=kind, proto=proto, flags=flags)
            )
        return results

    async def close(self) -> None:
        pass


def _literal(host: str) -> Address | None:
    """An address that the HTTP client takes for one, and so never looks up. Raises TargetRefused for an unusual form
    (`2130706433`, `0177.0.0.1`), which the operating system would read as another one."""
    if ":" not in host and not host.replace(".", "").isdigit():
        return None
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        raise TargetRefused(f"{host} is an address in an unusual form") from None


def _public(address: Address) -> bool:
    """Whether it is reachable from the whole Internet. An IPv6 address that holds an IPv4 one is as public as that."""
    if isinstance(address, ipaddress.IPv6Address):
        held = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in _NAT64:
            held = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if held:
            return _public(held)
        if address.is_site_local:
            return False
    return (
        address.is_global
        and address not in _SPECIAL
        and not (address.is_multicast or address.is_reserved or address.is_unspecified)
    )
