"""Which address a request comes from: that of the peer, or, from a proxy that is trusted, what this one says."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from aiohttp import web

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
CLIENT = web.RequestKey("client", str)


def client(request: web.Request) -> str:
    """The address that the guard has found; that of the peer where no guard stands before the handler."""
    return request.get(CLIENT) or request.remote or ""


def client_of(peer: str, forwarded: Iterable[str], trusted: Sequence[Network]) -> str:
    """The rightmost address of X-Forwarded-For that is no trusted proxy's: those before it, anybody can write.

    `forwarded` are the header's values. What is no address ends the way there, at the proxy that passed it on.
    """
    found = peer
    hops = [hop for value in forwarded for hop in value.split(",")] if is_among(peer, trusted) else []
    for hop in reversed(hops):
        address = address_of(_without_port(hop.strip()))
        if address is None:
            break
        found = str(address)
        if not is_among(found, trusted):
            break
    return found


def is_among(host: str, networks: Sequence[Network]) -> bool:
    if not networks:
        return False
    address = address_of(host)
    return address is not None and any(address in network for network in networks)


def address_of(host: str) -> Address | None:
    """An address without its scope; of one of IPv4 within IPv6, this one. None: it is none."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def place_of(host: str) -> str:
    """What counts as one: an address, or the /64 of one of IPv6, which its owner has all of."""
    address = address_of(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
    return host if address is None else str(address)


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
