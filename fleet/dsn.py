"""Database URLs: in libpq's spelling, as libpq's parameters, and where they lead."""

from __future__ import annotations

import os
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

DEFAULT_PORT = "5432"


def plain_dsn(dsn: str) -> str:
    """Turn SQLAlchemy's spelling (`postgresql+asyncpg://...?ssl=require`) into libpq's."""
    parts = urlsplit(dsn)
    query = [("sslmode" if key == "ssl" else key, value) for key, value in parse_qsl(parts.query)]
    # urlunsplit would drop the // of postgresql:///database, without which libpq takes it for a keyword
    plain = f"{parts.scheme.partition('+')[0]}://{parts.netloc}{parts.path}"
    return f"{plain}?{urlencode(query)}" if query else plain


def read_dsn(dsn: str) -> dict[str, str]:
    """Split a PostgreSQL URL into libpq's parameters; several hosts stay one value with commas, as libpq takes them.

    Raises:
        ValueError: a port that is none, or an unclosed bracket.
    """
    parts = urlsplit(plain_dsn(dsn))
    login, _, places = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    hosts, ports = zip(*map(_host_and_port, places.split(",")), strict=True)
    found = {
        "user": unquote(user),
        "password": unquote(password),
        "host": ",".join(hosts),
        "port": ",".join(ports) if any(ports) else "",
        "dbname": unquote(parts.path.lstrip("/")),
    }
    return {name: value for name, value in found.items() if value.strip(",")} | dict(parse_qsl(parts.query))


def first_address(dsn: str) -> tuple[str, int] | None:
    """Host and TCP port of the server that is tried first; None where a Unix socket is.

    What the URL leaves open is told by PGHOST and PGPORT, else it is a local socket and 5432 (PostgreSQL
    documentation, "Connection URIs" and "Environment Variables" of libpq; asyncpg does the same).

    Raises:
        ValueError: a port that is none, or an unclosed bracket.
    """
    settings = read_dsn(dsn)
    host = _first(settings.get("host")) or _first(os.environ.get("PGHOST"))
    port = _first(settings.get("port")) or _first(os.environ.get("PGPORT")) or DEFAULT_PORT
    return None if not host or host.startswith("/") else (host, int(port))


def _first(listed: str | None) -> str:
    return (listed or "").split(",")[0]


def _host_and_port(place: str) -> tuple[str, str]:
    if place.startswith("["):
        host, bracket, port = place[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError("an IPv6 address in a DSN stands in brackets")
        return host, port[1:]
    host, _, port = place.partition(":")
    if port and not port.isdecimal():
        raise ValueError("the port in a DSN is a number")
    return unquote(host), port
