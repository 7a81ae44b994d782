"""Database URLs as libpq and asyncpg read them."""

from __future__ import annotations

import time

import pytest

from fleet.connections import Connections
from fleet.dsn import first_address, plain_dsn, read_dsn
from fleet.environment import Environment
from fleet.policy import Tier
from fleet.secrets import Secrets, SecretText


@pytest.mark.parametrize(
    ("dsn", "plain"),
    [
        ("postgresql+asyncpg://u:p%40@h:1/d?ssl=require", "postgresql://u:p%40@h:1/d?sslmode=require"),
        ("postgresql:///d?host=/tmp/x", "postgresql:///d?host=%2Ftmp%2Fx"),
        ("postgresql://u@/d?host=%2Ftmp%2Fx", "postgresql://u@/d?host=%2Ftmp%2Fx"),
        ("postgres://h/d", "postgres://h/d"),
    ],
)
def test_urls_are_written_as_libpq_takes_them(dsn: str, plain: str) -> None:
    assert plain_dsn(dsn) == plain


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        (
            "postgresql://u:p%40ss%2Fw@db.example.org:5433/app",
            {"user": "u", "password": "p@ss/w", "host": "db.example.org", "port": "5433", "dbname": "app"},
        ),
        ("postgresql+asyncpg://u@h/app?ssl=require", {"user": "u", "host": "h", "dbname": "app", "sslmode": "require"}),
        ("postgresql://postgres@/app?host=/run/pg", {"user": "postgres", "dbname": "app", "host": "/run/pg"}),
        ("postgresql://%2Frun%2Fpg/app", {"host": "/run/pg", "dbname": "app"}),
        ("postgresql://u@a:1,b:2/app", {"user": "u", "host": "a,b", "port": "1,2", "dbname": "app"}),
        (
            "postgresql://u@[2001:db8::1]:5432/app",
            {"user": "u", "host": "2001:db8::1", "port": "5432", "dbname": "app"},
        ),
        ("postgresql:///", {}),
    ],
)
def test_a_dsn_is_split_as_libpq_does(dsn: str, expected: dict[str, str]) -> None:
    assert read_dsn(dsn) == expected


@pytest.mark.parametrize("dsn", ["postgresql://u@h:many/app", "postgresql://u@[::1/app"])
def test_a_broken_dsn_is_an_error_that_does_not_show_it(dsn: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - urlsplit has words of its own for some
        read_dsn(dsn.replace("u@", "u:geheim@"))
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("dsn", "address"),
    [
        ("postgresql://u:p@db.example:5433/d", ("db.example", 5433)),
        ("postgresql+asyncpg://u:p%40x@db.example/d?ssl=require", ("db.example", 5432)),
        ("postgresql://u@[::1]:5/d", ("::1", 5)),
        ("postgresql://u@one:1,two:2/d", ("one", 1)),
        ("postgresql://u@one,two:2/d", ("one", 5432)),
        ("postgresql:///d?host=db&port=6", ("db", 6)),
        ("postgresql:///d?host=one,two&port=6,7", ("one", 6)),
        ("postgresql:///d?host=/tmp&port=6", None),
        ("postgresql://%2Frun%2Fpg/d", None),
        ("postgresql:///d", None),
    ],
)
def test_where_a_dsn_leads(dsn: str, address: tuple[str, int] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGHOST", raising=False)
    monkeypatch.delenv("PGPORT", raising=False)
    assert first_address(dsn) == address


def test_what_a_dsn_leaves_open_is_the_processs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "elsewhere")
    monkeypatch.setenv("PGPORT", "7")
    assert first_address("postgresql:///d") == ("elsewhere", 7)
    assert first_address("postgresql://h/d") == ("h", 7)
    assert first_address("postgresql://h:8/d") == ("h", 8)


async def test_connections_know_their_address_though_it_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSN", "postgresql+asyncpg://u:geheim@db.example:5433/d")
    monkeypatch.setenv("HOST", "other.example")
    for raw, address in {
        "env:DSN": ("db.example", 5433),
        "postgresql://u@${env:HOST}/d?port=9": ("other.example", 9),
    }.items():
        environment = Environment(name="e", tier=Tier.QA, dsn=SecretText(raw))
        assert await Connections(environment, Secrets(time.monotonic)).address() == address
