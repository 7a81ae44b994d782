"""The reference schema's revisions on a real server: there and back, and the HNSW upgrade after failures."""

from __future__ import annotations

import io

import asyncpg
import numpy as np
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from pgvector.asyncpg import register_vector
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from daemon.demo import knowledge, schema
from fleet.embedded import EmbeddedServer

HNSW = "idx_kc_embedding_hnsw_1536"
IVFFLAT = "idx_kc_embedding_ivfflat_1536"

_SCHEMA_SQL = """
    select 'column', attrelid::regclass::text, attname, format_type(atttypid, atttypmod)
    from pg_attribute join pg_class on pg_class.oid = attrelid
    where relnamespace = 'public'::regnamespace and relkind = 'r' and attnum > 0 and not attisdropped
    union all select 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    from pg_constraint where connamespace = 'public'::regnamespace
    union all select 'index', indrelid::regclass::text, indexrelid::regclass::text,
        pg_get_indexdef(indexrelid) || indisvalid
    from pg_index join pg_class on pg_class.oid = indexrelid where relnamespace = 'public'::regnamespace
    union all select 'configuration', cfgname, null, null from pg_ts_config where cfgnamespace = 'public'::regnamespace
"""
Fact = tuple[str, str, str | None, str | None]


@pytest.fixture
def dsn(server: EmbeddedServer, database: str) -> str:
    return server.dsn(database)


async def facts(sql: asyncpg.Connection) -> set[Fact]:
    """The schema as PostgreSQL tells it, without Alembic's own table."""
    return {tuple(row) for row in await sql.fetch(_SCHEMA_SQL) if row[1] != "alembic_version"}


async def index(sql: asyncpg.Connection, name: str) -> tuple[int, str, bool] | None:
    """oid, access method and validity of an index."""
    row = await sql.fetchrow(
        "select i.oid, amname, indisvalid from pg_class i join pg_am on pg_am.oid = relam"
        " join pg_index on indexrelid = i.oid where i.relname = $1",
        name,
    )
    return None if row is None else tuple(row)


async def revision(sql: asyncpg.Connection) -> str:
    found: str = await sql.fetchval("select version_num from alembic_version")
    return found


async def add_chunks(sql: asyncpg.Connection, embeddings: knowledge.Vectors) -> None:
    await register_vector(sql)
    await sql.execute(
        "insert into knowledge_items (title, content, source) values ('Città', '', 'INPS'), ('Città', '', 'x')"
    )
    await sql.copy_records_to_table(
        "knowledge_chunks",
        columns=["knowledge_item_id", "chunk_index", "chunk_text", "token_count", "embedding"],
        records=[(1, n, "La società è residente.", 5, vector) for n, vector in enumerate(embeddings)],
    )


def random_vectors(count: int) -> knowledge.Vectors:
    return np.random.default_rng(1).standard_normal((count, knowledge.DIMENSIONS), dtype=np.float32)


async def leave_invalid(sql: asyncpg.Connection, name: str) -> None:
    """An invalid index of this name, as a failed CONCURRENTLY leaves it."""
    with pytest.raises(asyncpg.UniqueViolationError):
        await sql.execute(f"create unique index concurrently {name} on knowledge_items (title)")
    left = await index(sql, name)
    assert left is not None
    assert left[2] is False


async def test_each_revision_goes_down_to_exactly_what_was_before(dsn: str, sql: asyncpg.Connection) -> None:
    revisions = [script.revision for script in ScriptDirectory.from_config(schema.config(dsn)).walk_revisions()]
    assert len(revisions) >= 5
    before = await facts(sql)
    previous = "base"
    for name in reversed(revisions):
        await schema.upgrade(dsn, name)
        after = await facts(sql)
        assert after != before
        await schema.downgrade(dsn, previous)
        assert await facts(sql) == before
        await schema.upgrade(dsn, name)
        assert await facts(sql) == after
        before, previous = after, name


async def test_from_head_to_base_and_up_again(dsn: str, sql: asyncpg.Connection) -> None:
    await schema.upgrade(dsn, "head")
    full = await facts(sql)
    await schema.downgrade(dsn, "base")
    assert await facts(sql) == set()
    await schema.upgrade(dsn, "head")
    assert await facts(sql) == full
    assert await revision(sql) == schema.HNSW


async def test_search_is_italian_and_blind_to_accents(dsn: str, sql: asyncpg.Connection) -> None:
    await schema.upgrade(dsn, schema.FULL_TEXT)
    await add_chunks(sql, random_vectors(1))
    find = "select count(*) from knowledge_chunks where search_vector @@ plainto_tsquery('italian_unaccent', $1)"
    assert [await sql.fetchval(find, words) for words in ("societa residenti", "società residente", "soci")] == [
        1,
        1,
        0,
    ]


async def test_the_ivfflat_index_is_built_over_data_with_the_servers_default_memory(
    dsn: str, sql: asyncpg.Connection
) -> None:
    await schema.upgrade(dsn, schema.FULL_TEXT)
    await add_chunks(sql, random_vectors(10_000))
    assert await sql.fetchval("show maintenance_work_mem") == "64MB"
    with pytest.raises(asyncpg.ProgramLimitExceededError, match="memory required is 65 MB"):
        await sql.execute(
            "create index on knowledge_chunks using ivfflat (embedding vector_cosine_ops) with (lists = 100)"
        )
    await schema.upgrade(dsn, schema.DEPLOYED)
    found = await index(sql, IVFFLAT)
    assert found is not None
    assert found[1:] == ("ivfflat", True)


async def test_hnsw_upgrade_runs_again_after_a_failed_build(dsn: str, sql: asyncpg.Connection) -> None:
    await schema.upgrade(dsn, schema.DEPLOYED)
    await add_chunks(sql, random_vectors(100))
    await leave_invalid(sql, HNSW)
    await schema.upgrade(dsn, schema.HNSW)
    found = await index(sql, HNSW)
    assert found is not None
    assert found[1:] == ("hnsw", True)
    assert await sql.fetchval("select indexdef from pg_indexes where indexname = $1", HNSW) == (
        f"CREATE INDEX {HNSW} ON public.knowledge_chunks USING hnsw (embedding vector_cosine_ops)"
        " WITH (m='16', ef_construction='64')"
    )
    assert await index(sql, IVFFLAT) is None


@pytest.mark.parametrize("dropped", [False, True])
async def test_hnsw_upgrade_goes_on_after_it_failed_behind_the_build(
    dsn: str, sql: asyncpg.Connection, dropped: bool
) -> None:
    await schema.upgrade(dsn, schema.HNSW)
    built = await index(sql, HNSW)
    # as if the process had died before Alembic wrote the revision down, before or after the old index was dropped
    await sql.execute("update alembic_version set version_num = $1", schema.DEPLOYED)
    if not dropped:
        await sql.execute(f"create index {IVFFLAT} on knowledge_chunks (id)")
    await schema.upgrade(dsn, schema.HNSW)
    assert await index(sql, HNSW) == built
    assert await index(sql, IVFFLAT) is None
    assert await revision(sql) == schema.HNSW


async def test_hnsw_downgrade_runs_again_after_a_failed_build(dsn: str, sql: asyncpg.Connection) -> None:
    await schema.upgrade(dsn, schema.HNSW)
    await add_chunks(sql, random_vectors(100))
    await leave_invalid(sql, IVFFLAT)
    await schema.downgrade(dsn, schema.DEPLOYED)
    found = await index(sql, IVFFLAT)
    assert found is not None
    assert found[1:] == ("ivfflat", True)
    assert await index(sql, HNSW) is None


@pytest.mark.parametrize(("installed", "enough"), [("0.4.4", False), ("0.5.0", True), ("0.10.1", True)])
async def test_hnsw_upgrade_asks_for_a_pgvector_that_knows_it(
    dsn: str, sql: asyncpg.Connection, installed: str, enough: bool
) -> None:
    await schema.upgrade(dsn, schema.DEPLOYED)
    await sql.execute("update pg_extension set extversion = $1 where extname = 'vector'", installed)
    before = await facts(sql)
    if enough:
        await schema.upgrade(dsn, schema.HNSW)
    else:
        with pytest.raises(DBAPIError, match=r"pgvector 0\.4\.4 knows no HNSW"):
            await schema.upgrade(dsn, schema.HNSW)
        assert await facts(sql) == before
    assert await revision(sql) == (schema.HNSW if enough else schema.DEPLOYED)


async def test_a_connection_may_be_handed_in(dsn: str, sql: asyncpg.Connection) -> None:
    engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda **_: asyncpg.connect(dsn))

    def upgrade(connection: Connection) -> None:
        config = schema.config("")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    async with engine.connect() as connection:
        await connection.run_sync(upgrade)
    await engine.dispose()
    assert await revision(sql) == schema.HNSW


def test_the_statements_can_be_printed_for_review() -> None:
    config = schema.config("")
    config.output_buffer = io.StringIO()
    command.upgrade(config, "head", sql=True)
    printed = config.output_buffer.getvalue()
    assert f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {HNSW}" in printed
    assert printed.index("COMMIT;") < printed.index("CONCURRENTLY")
