"""The HTTP proxy that the environment names: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, as curl reads them.

Each may be written in capital or in small letters; of both, the small ones count."""

import ipaddress
from urllib import request

from yarl import URL

from libs.client.errors import HiperError

_LOCAL = {"localhost", "127.0.0.1", "::1"}


def proxy_for(server: str) -> URL | None:
    """The proxy on the way to this server; None for a direct connection. Raises HiperError where it cannot be used.

    This machine itself is always reached directly: no proxy could reach it. `~/.netrc` is not read."""
    url, proxies = URL(server), request.getproxies_environment()
    named = proxies.get(url.scheme) or proxies.get("all")
    if not named or _is_direct(url, proxies):
        return None
    try:
        proxy = URL(named if "://" in named else f"http://{named}")
    except ValueError:
        proxy = URL()
    address = str(proxy.with_user(None)) if proxy.host else "of the environment"
    if proxy.scheme not in {"http", "https"} or not proxy.host:
        socks = proxy.scheme.startswith("socks")
        reason = "SOCKS is not supported" if socks else "it is no http:// or https:// address"
        raise HiperError(
            f"cannot use the proxy {address}: {reason}",
            f"set {url.scheme}_proxy to an HTTP proxy, or add {url.host} to no_proxy",
        )
    return proxy


def exposure(server: str, proxy: URL | None) -> str:
    """A warning of those who can read the secret on its way to the server; empty where it is encrypted, or does not
    leave this machine."""
    url = URL(server)
    if url.scheme != "http" or url.host in _LOCAL:
        return ""
    if proxy:
        return (
            f"warning: http:// shows the secret to the proxy {proxy.host}:{proxy.port} and to all on the way; "
            f"use https://, or add {url.host} to no_proxy in a trusted network"
        )
    return "warning: http:// sends the secret unencrypted; use https:// outside of a trusted network"


def _is_direct(url: URL, proxies: dict[str, str]) -> bool:
    host = (url.host or "").lower()
    bypassed = request.proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed does not know it
    if host == "localhost" or bypassed(host, proxies) or bypassed(f"{host}:{url.port}", proxies):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or any(_is_within(address, entry.strip()) for entry in proxies.get("no", "").split(","))


def _is_within(address: ipaddress.IPv4Address | ipaddress.IPv6Address, network: str) -> bool:
    """Whether an entry of NO_PROXY is a network such as 10.0.0.0/8 that the address is in."""
    try:
        return "/" in network and address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
