"""Runs the revisions over asyncpg; an alembic.ini need not be there.

The caller's `Config` says where: `attributes["connection"]` is an open SQLAlchemy connection, or the option
`sqlalchemy.url` is any libpq URL, or the environment variable DATABASE_URL is. Each revision commits by itself, so
that a failed one leaves those before it.
"""

from __future__ import annotations

import asyncio
import os

import asyncpg
from alembic import context
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool


def run(connection: Connection) -> None:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


async def connect_and_run(url: str) -> None:
    scheme, rest = url.split("://", 1)
    dsn = f"{scheme.partition('+')[0]}://{rest}"
    # asyncpg reads the URL itself: SQLAlchemy's reading knows fewer of libpq's options
    engine = create_async_engine(
        "postgresql+asyncpg://", poolclass=NullPool, async_creator=lambda **_: asyncpg.connect(dsn)
    )
    async with engine.connect() as connection:
        await connection.run_sync(run)


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
elif (given := context.config.attributes.get("connection")) is not None:
    run(given)
else:
    asyncio.run(connect_and_run(context.config.get_main_option("sqlalchemy.url") or os.environ["DATABASE_URL"]))
