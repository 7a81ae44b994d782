"""Text functions of Prometheus that deal with addresses, links and letter case."""

from __future__ import annotations

import ipaddress
from urllib.parse import quote_plus, urlsplit

from rules.strconv import to_bytes


def query_escape(text: str) -> str:
    """Go's url.QueryEscape."""
    return quote_plus(to_bytes(text), safe="~")


def graph_link(expression: str) -> str:
    return f"/graph?g0.expr={query_escape(expression)}&g0.tab=0"


def table_link(expression: str) -> str:
    return f"/graph?g0.expr={query_escape(expression)}&g0.tab=1"


def path_of(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


def _split_host_port(address: str) -> tuple[str, str] | None:
    """Go's net.SplitHostPort; None where it gives an error."""
    host, colon, port = address.rpartition(":")
    if not colon:
        return None
    if host.startswith("["):
        inner, bracket, rest = host[1:].partition("]")
        if not bracket or rest:
            return None
        host = inner
    elif ":" in host:
        return None
    return None if any(mark in part for mark in "[]" for part in (host, port)) else (host, port)


def strip_port(address: str) -> str:
    parts = _split_host_port(address)
    return parts[0] if parts else address


def strip_domain(address: str) -> str:
    """The host without its domain, with its port; an IP address stays as it is."""
    host, port = _split_host_port(address) or (address, "")
    if _is_ip(host):
        return address
    host = host.split(".", 1)[0]
    if not port:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def title(text: str) -> str:
    """Go's strings.Title: the first letter of every word in upper case, where letters, digits and _ make a word."""
    out, before = [], " "
    for mark in text:
        starts = not (before.isalnum() or before == "_") and (before.isascii() or before.isspace())
        upper = mark.title() if starts else mark
        out.append(upper if len(upper) == 1 else mark)
        before = mark
    return "".join(out)


def to_upper(text: str) -> str:
    """Letter by letter, as Go: one letter never becomes two."""
    if text.isascii():
        return text.upper()
    return "".join(next((up for up in (mark.upper(), mark.title()) if len(up) == 1), mark) for mark in text)


def to_lower(text: str) -> str:
    return text.lower() if text.isascii() else "".join(mark.lower()[0] for mark in text)
