"""A database of its own on each PostgreSQL version at hand, watched by a role that has nothing but pg_monitor."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import asyncpg
import pytest

from collectors import Collector, Rows, Target
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.secrets import SecretText
from tests.integration.debian_server import BIN, DebianServer, debian_server

WATCHER = "custode_watcher"
AnyServer: TypeAlias = EmbeddedServer | DebianServer
Samples = dict[str, dict[tuple[str | bool | None, ...], float]]


@dataclass(frozen=True, slots=True)
class Site:
    """`sql` is a superuser's connection to `database`."""

    server: AnyServer
    database: str
    sql: asyncpg.Connection
    make_target: Callable[..., Target]

    @property
    def major(self) -> int:
        return self.sql.get_server_version().major

    def environment(self, user: str = WATCHER, **fields: object) -> Environment:
        values: dict[str, object] = {
            "name": "qa",
            "tier": "qa",
            "dsn": SecretText(self.server.dsn(self.database, user)),
            "databases": (self.database,),
            "tls": {"mode": "disable"},
        }
        return Environment.model_validate(values | fields)

    def target(self, user: str = WATCHER, **fields: object) -> Target:
        return self.make_target(self.environment(user, **fields))

    def at(self, server: AnyServer) -> Site:
        """The same database on another server."""
        return replace(self, server=server)

    async def connect(self, user: str = "postgres") -> asyncpg.Connection:
        return await asyncpg.connect(self.server.dsn(self.database, user))

    async def flush_statistics(self) -> None:
        """Make what `sql` did count at once (PostgreSQL 15+)."""
        await self.sql.execute("select pg_stat_force_next_flush()")


async def collected(collector: type[Collector], target: Target) -> Samples:
    return samples(await collector(collector.Options()).collect(target))


def samples(rows: Iterable[Rows]) -> Samples:
    """Values by metric and labels; fails where records do not fit their family, repeat themselves or are no numbers."""
    found: Samples = {}
    for part in rows:
        width = len(part.family.labels)
        for record in part.records:
            assert len(record) == width + len(part.family.metrics)
            labels = tuple(record[:width])
            assert all(label is None or type(label) in {str, bool} for label in labels), labels
            for metric, value in zip(part.family.metrics, record[width:], strict=True):
                assert value is None or type(value) in {int, float}, (metric.name, value)
                series = found.setdefault(metric.name, {})
                assert labels not in series, (metric.name, labels)
                if value is not None:
                    series[labels] = value
    return found


@pytest.fixture(scope="session")
def debian(scratch: Path) -> Iterator[DebianServer]:
    """Debian's PostgreSQL, one for the whole session."""
    if not (BIN / "initdb").exists():
        pytest.skip("Debian's postgresql-15 is not installed")
    with debian_server(scratch / "debian", settings={"max_prepared_transactions": "4"}) as server:
        yield server


_DEBIAN = pytest.param("debian", marks=pytest.mark.peer)
# for tests that make sense on one server only
DEBIAN_ONLY = pytest.mark.parametrize("site", [_DEBIAN], indirect=True)
EMBEDDED_ONLY = pytest.mark.parametrize("site", ["embedded"], indirect=True)


@pytest.fixture(params=["embedded", _DEBIAN])
async def site(request: pytest.FixtureRequest, make_target: Callable[..., Target]) -> AsyncIterator[Site]:
    """An empty database on each server."""
    server = request.getfixturevalue("server" if request.param == "embedded" else "debian")
    name = f"t_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(server.dsn())
    if not await admin.fetchval("select exists (select from pg_roles where rolname = $1)", WATCHER):
        await admin.execute(f"create role {WATCHER} login in role pg_monitor")
    await admin.execute(f"create database {name}")
    sql = await asyncpg.connect(server.dsn(name))
    yield Site(server, name, sql, make_target)
    await sql.close()
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()
