"""The Host header. A name that somebody else points at our address (DNS rebinding) would make a browser read from us.

An address in it is none of these names, and is always well.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9_.-]+))(?::\d{1,5})?")


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address, or localhost; of other names nobody knows."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


class Hosts:
    """The names that are ours, beside localhost."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(name.lower().rstrip(".") for name in names) | {"localhost"}

    def fits(self, host: str | None) -> bool:
        """Whether a Host header names us."""
        found = _HOST.fullmatch(host or "")
        if found is None:
            return False
        name = (found["six"] or found["name"]).lower().rstrip(".")
        return name in self._names or name.endswith(".localhost") or is_address(name)
