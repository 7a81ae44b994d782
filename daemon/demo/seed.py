"""Fill one environment: roles, database, schema, data, faults. A finished one is kept, an unfinished one redone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
from pgvector.asyncpg import register_vector

from daemon.demo import loading, schema, workload
from daemon.demo.loading import Order
from daemon.demo.sites import Site
from fleet.embedded import EmbeddedServer

OWNER = "pratikoai_app"
WATCHER = "custode"
_PROBES = 20
_ROLES = {
    OWNER: "",
    # what it maintains it must own, or may as a member of who does
    WATCHER: f"CREATEDB IN ROLE pg_monitor, pg_read_all_data, pg_maintain, pg_signal_backend, {OWNER}",
    "ops_readonly": "IN ROLE pg_read_all_data",
}
_DONE = "seeded by custode demo"

Progress = Callable[[int, int], None]


async def seed(site: Site, server: EmbeddedServer, order: Order, progress: Progress) -> bool:
    """Make `site` on its server unless it is there; `progress` is told chunks done and in all.

    Returns:
        whether it was made now.
    """
    async with _connection(server.dsn()) as admin:
        if await _is_complete(admin, site.database):
            return False
        await _create_roles(admin)
        await admin.execute(f"DROP DATABASE IF EXISTS {site.database} WITH (FORCE)")
        await admin.execute(f"CREATE DATABASE {site.database} OWNER {OWNER}")
        async with _connection(server.dsn(site.database)) as connection:
            # only a superuser may: pgvector is not a trusted extension
            await connection.execute("CREATE EXTENSION vector")
            # of 100 lists: with pgvector's default of one, half of the nearest rows are not found
            await connection.execute(f"ALTER DATABASE {site.database} SET ivfflat.probes = {_PROBES}")
        await _fill(site, server.dsn(site.database, OWNER), order, progress)
        await admin.execute(f"COMMENT ON DATABASE {site.database} IS '{_DONE}'")
    return True


async def _is_complete(admin: asyncpg.Connection, database: str) -> bool:
    comment = await admin.fetchval(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1", database
    )
    return bool(comment == _DONE)


async def _create_roles(admin: asyncpg.Connection) -> None:
    existing = {row["rolname"] for row in await admin.fetch("SELECT rolname FROM pg_roles")}
    for role, membership in _ROLES.items():
        if role not in existing:
            await admin.execute(f"CREATE ROLE {role} LOGIN {membership}")


async def _fill(site: Site, dsn: str, order: Order, progress: Progress) -> None:
    chunks = round(order.rows * site.share)
    indexed = chunks if site.index_rows is None else site.index_rows
    await schema.upgrade(dsn, schema.FULL_TEXT)
    async with _connection(dsn) as connection:
        await register_vector(connection)

        async def load(first: int, last: int) -> None:
            await loading.load_knowledge(connection, first, last, order, lambda done: progress(done, chunks))

        await load(0, indexed)
        await schema.upgrade(dsn, site.revision)
        await load(indexed, chunks)
        await loading.load_feeds(connection, order)
        if site.people:
            await loading.load_people(connection, order)
        else:
            await loading.load_test_accounts(connection, order, site.name)
        await _settle(connection, site, chunks)


async def _settle(connection: asyncpg.Connection, site: Site, chunks: int) -> None:
    dated = site.revision == schema.DEPLOYED
    if dated:
        await connection.execute("UPDATE knowledge_items SET publication_date = created_at::date")
    # what this session has counted and not yet told would be added to what ANALYZE finds
    await connection.execute("SELECT pg_stat_force_next_flush()")
    await connection.execute("ANALYZE knowledge_items, knowledge_chunks, users, conversations, messages, feed_status")
    await workload.run(connection, chunks=chunks, publication_date=dated)
    for plant in site.faults:
        await plant(connection)


@asynccontextmanager
async def _connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()
