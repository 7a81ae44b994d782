"""A real PostgreSQL with pgvector for the session, and a database of its own for each test that asks."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import structlog

from collectors import Target
from fleet.connections import Connections
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.policy import TIER_DEFAULTS, Policy, Tier
from fleet.secrets import Secrets, SecretText

# autovacuum is on, and comes to no test in the middle
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "60",
    "autovacuum_naptime": "1d",
}


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """Commands that are run in this process configure logs, to a stream that is closed once they have ended."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A directory that the server's own user can reach (pytest's is closed to others)."""
    path = Path(tempfile.mkdtemp(prefix="custode-test-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def server(scratch: Path) -> Iterator[EmbeddedServer]:
    """PostgreSQL 18 with pgvector, one for the whole session."""
    running = EmbeddedServer.start(scratch / "server", settings=FAST)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def template(server: EmbeddedServer) -> str:
    """The name of a database with pgvector and unaccent, to make others from."""
    name = "t_template"

    async def make() -> None:
        admin = await asyncpg.connect(server.dsn())
        await admin.execute(f"create database {name}")
        connection = await asyncpg.connect(server.dsn(name))
        await connection.execute("create extension vector; create extension unaccent")
        await connection.close()
        await admin.execute(f"alter database {name} is_template true allow_connections false")
        await admin.close()

    asyncio.run(make())
    return name


@pytest.fixture
async def database(server: EmbeddedServer, template: str) -> AsyncIterator[str]:
    """The name of a new, empty database with pgvector and unaccent."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(server.dsn())
    await admin.execute(f'create database "{name}" template {template}')
    yield name
    await admin.execute(f'drop database if exists "{name}" with (force)')
    await admin.close()


@pytest.fixture
async def sql(server: EmbeddedServer, database: str) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection to `database`, to arrange what a test needs."""
    connection = await asyncpg.connect(server.dsn(database))
    yield connection
    if not connection.is_closed():
        await connection.close()


EnvironmentMaker = Callable[..., Environment]


@pytest.fixture
def make_environment(server: EmbeddedServer, database: str) -> EnvironmentMaker:
    """Make an Environment on `database`; keywords override its fields (policy, tier, dsn, ...)."""

    def make(name: str = "qa", tier: Tier = Tier.QA, policy: Policy | None = None, **fields: object) -> Environment:
        values: dict[str, object] = {
            "name": name,
            "tier": tier,
            "dsn": SecretText(server.dsn(database)),
            "databases": (database,),
            "policy": policy or TIER_DEFAULTS[tier],
            "tls": {"mode": "disable"},
        }
        return Environment.model_validate(values | fields)

    return make


@pytest.fixture
async def make_target() -> AsyncIterator[Callable[..., Target]]:
    """Make a collector's Target for an environment; its connections are closed after the test."""
    opened: list[Connections] = []

    def make(environment: Environment, **fields: Any) -> Target:
        connections = Connections(environment, Secrets(time.monotonic))
        opened.append(connections)
        return replace(Target(environment, connections, time.time()), **fields)

    yield make
    for connections in opened:
        await connections.close()
