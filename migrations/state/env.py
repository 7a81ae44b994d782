"""Runs the revisions over asyncpg, without an alembic.ini, one process at a time.

The caller's `Config` says where: `attributes["connect"]` opens an asyncpg session, or the option `sqlalchemy.url` is
any libpq URL. Each revision commits by itself, so that a failed one leaves those before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from migrations.state import SCHEMA

_LOCK = 0x437573746F6465  # of pg_advisory_lock

Connect = Callable[[], Awaitable[asyncpg.Connection]]


def run(connection: Connection) -> None:
    # asked first: `create schema if not exists` wants the right to create even where there is nothing to create
    if connection.scalar(text("select to_regnamespace(:name)::oid"), {"name": SCHEMA}) is None:
        connection.execute(text(f"create schema {SCHEMA}"))
    connection.commit()
    context.configure(connection=connection, version_table_schema=SCHEMA, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


async def connect_and_run(connect: Connect) -> None:
    engine = create_async_engine("postgresql+asyncpg://", poolclass=NullPool, async_creator=lambda **_: connect())
    async with engine.connect() as connection:
        await connection.execute(text("select pg_advisory_lock(:key)"), {"key": _LOCK})  # until the session ends
        await connection.commit()
        await connection.run_sync(run)


def _by_url() -> Awaitable[asyncpg.Connection]:
    return asyncpg.connect(context.config.get_main_option("sqlalchemy.url"), server_settings={"search_path": SCHEMA})


asyncio.run(connect_and_run(context.config.attributes.get("connect", _by_url)))
