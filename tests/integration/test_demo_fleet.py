"""The demonstration's fleet on four real servers: what is in it, what is wrong with it, and a second start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from daemon.demo import faults, schema
from daemon.demo.fleet import MIN_ROWS, DemoFleet
from daemon.demo.loading import Order
from daemon.demo.seed import OWNER, seed
from daemon.demo.sites import SITES, Site
from fleet.embedded import EmbeddedServer
from fleet.errors import DaemonError

NOW = 1_764_000_000.0
ROWS = MIN_ROWS
CHUNKS = {"production": ROWS, "preprod": ROWS, "qa": ROWS // 2, "development": ROWS // 10}
SITE = {site.name: site for site in SITES}
everywhere = pytest.mark.parametrize("name", CHUNKS)


def silent(_environment: str, _done: int, _total: int) -> None:
    pass


async def start(directory: Path, progress: Callable[[str, int, int], None] = silent) -> DemoFleet:
    return await DemoFleet.start(directory, ROWS, progress, now=lambda: NOW)


@dataclass(frozen=True, slots=True)
class Running:
    fleet: DemoFleet
    told: dict[str, list[tuple[int, int]]]


@pytest.fixture(scope="module")
def running(scratch: Path) -> Iterator[Running]:
    """One fleet for the tests that only look."""
    told: dict[str, list[tuple[int, int]]] = {}
    fleet = asyncio.run(start(scratch / "demo", lambda name, *progress: told.setdefault(name, []).append(progress)))
    yield Running(fleet, told)
    asyncio.run(fleet.stop())


@pytest.fixture
def fleet(running: Running) -> DemoFleet:
    return running.fleet


@asynccontextmanager
async def connect(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    # no cached statements: they would keep the plan of the settings they were first planned under
    connection = await asyncpg.connect(dsn, statement_cache_size=0)
    try:
        yield connection
    finally:
        await connection.close()


async def ask(dsn: str, query: str, *arguments: object) -> object:
    async with connect(dsn) as connection:
        return await connection.fetchval(query, *arguments)


@everywhere
async def test_each_environment_holds_its_share_of_one_knowledge_base(fleet: DemoFleet, name: str) -> None:
    digest = "select count(*) || md5(string_agg(chunk_text || embedding::text, '' order by id)) from knowledge_chunks"
    mine = await ask(fleet.dsn(name), digest)
    assert mine == await ask(fleet.dsn("production"), f"{digest} where id <= $1", CHUNKS[name])
    assert str(mine).startswith(str(CHUNKS[name]))


@everywhere
async def test_the_statistics_are_right(fleet: DemoFleet, name: str) -> None:
    query = (
        "select string_agg(relname || n_live_tup, ' ' order by relname) from pg_stat_user_tables where relname ~ '^kn'"
    )
    items = -(-CHUNKS[name] // 8)
    assert await ask(fleet.dsn(name), query) == f"knowledge_chunks{CHUNKS[name]} knowledge_items{items}"


async def test_the_servers_are_four(fleet: DemoFleet) -> None:
    query = "select system_identifier::text from pg_control_system()"
    assert len({await ask(fleet.dsn(name, "postgres"), query) for name in CHUNKS}) == 4
    assert fleet.fresh


def test_progress_counts_the_chunks_of_each_environment(running: Running) -> None:
    assert running.told.keys() == CHUNKS.keys()
    for name, told in running.told.items():
        assert [total for _, total in told] == [CHUNKS[name]] * len(told)
        assert [done for done, _ in told] == sorted(done for done, _ in told)
        assert told[-1][0] == CHUNKS[name]


@everywhere
async def test_the_watcher_sees_all_and_may_mend_what_the_application_owns(fleet: DemoFleet, name: str) -> None:
    async with connect(fleet.dsn(name)) as connection:
        assert await connection.fetchval("select current_user") == "custode"
        for role in ("pg_monitor", "pg_maintain", "pg_signal_backend", OWNER):
            assert await connection.fetchval("select pg_has_role($1, 'usage')", role), role
        assert await connection.fetchval("select count(*) from users") > 0
        assert not await connection.fetchval("select rolsuper from pg_roles where rolname = current_user")


@everywhere
async def test_the_application_goes_on_where_the_data_ends(fleet: DemoFleet, name: str) -> None:
    async with connect(fleet.dsn(name, OWNER)) as connection:
        transaction = connection.transaction()
        await transaction.start()
        user = await connection.fetchval(
            "insert into users (email, hashed_password) values ('nuovo@example.com', 'x') returning id"
        )
        await connection.execute("insert into conversations (user_id) values ($1)", user)
        await connection.execute("insert into knowledge_items (title, content, source) values ('', '', '')")
        await connection.execute("insert into feed_status (feed_url, source) values ('https://feed.example', '')")
        await transaction.rollback()


async def test_only_production_knows_people(fleet: DemoFleet) -> None:
    for name in CHUNKS:
        chats = await ask(fleet.dsn(name), "select count(*) from messages")
        personal = await ask(
            fleet.dsn(name), "select count(*) from users where coalesce(full_name, phone, address) is not null"
        )
        assert (chats == 0) == (personal == 0) == (name != "production")


async def test_only_production_has_messages_past_retention(fleet: DemoFleet) -> None:
    past = "select count(*) filter (where created_at < to_timestamp($1)) * 100 / count(*) from {}"
    for table in ("messages", "conversations"):
        share = await ask(fleet.dsn("production"), past.format(table), NOW - 90 * 86400)
        assert isinstance(share, int)
        assert 15 < share < 35


@everywhere
async def test_qa_is_one_revision_behind(fleet: DemoFleet, name: str) -> None:
    expected = schema.PREVIOUS if name == "qa" else schema.DEPLOYED
    assert await ask(fleet.dsn(name), "select version_num from alembic_version") == expected


async def test_the_release_that_is_deployed_ends_where_production_is(scratch: Path) -> None:
    release = schema.write_release(scratch / "release")
    assert schema.write_release(scratch / "release") == release
    revisions = {path.name.split("_")[0] for path in (release / "versions").iterdir()}
    assert schema.DEPLOYED in revisions
    assert schema.PREVIOUS in revisions
    assert schema.HNSW not in revisions


@everywhere
async def test_qa_has_a_column_that_no_migration_knows(fleet: DemoFleet, name: str) -> None:
    query = "select count(*) from information_schema.columns where column_name = $1"
    assert await ask(fleet.dsn(name), query, faults.HAND_MADE_COLUMN) == (name == "qa")


@everywhere
async def test_preprod_has_an_invalid_index(fleet: DemoFleet, name: str) -> None:
    query = "select coalesce(string_agg(indexrelid::regclass::text, ','), '') from pg_index where not indisvalid"
    assert await ask(fleet.dsn(name), query) == (faults.INVALID_INDEX if name == "preprod" else "")


@everywhere
async def test_production_never_scans_its_large_prefix_index(fleet: DemoFleet, name: str) -> None:
    query = "select idx_scan from pg_stat_user_indexes where indexrelname = $1"
    scans = await ask(fleet.dsn(name), query, faults.UNUSED_INDEX)
    assert (scans == 0) == (name == "production")


@everywhere
async def test_every_other_search_index_is_in_use(fleet: DemoFleet, name: str) -> None:
    query = (
        "select coalesce(string_agg(indexrelname, ','), '') from pg_stat_user_indexes join pg_index using (indexrelid)"
        " where idx_scan = 0 and not indisunique and indexrelname <> $1"
    )
    assert await ask(fleet.dsn(name), query, faults.UNUSED_INDEX) == ""


@everywhere
async def test_operators_may_write_one_table_of_production(fleet: DemoFleet, name: str) -> None:
    query = (
        "select coalesce(string_agg(relname, ','), '') from pg_class"
        " where relkind = 'r' and relnamespace = 'public'::regnamespace"
        " and has_table_privilege($1, oid, 'insert, update, delete, truncate')"
    )
    writable = await ask(fleet.dsn(name), query, faults.OPS_ROLE)
    assert writable == (faults.OPS_WRITABLE_TABLE if name == "production" else "")
    assert await ask(fleet.dsn(name), "select has_table_privilege($1, 'users', 'select')", faults.OPS_ROLE)


async def recall(dsn: str, probes: int) -> float:
    """Share of the 10 exact neighbours that the IVFFlat index finds, over 40 chunks."""
    query = (
        "select id from knowledge_chunks"
        " order by embedding <=> (select embedding from knowledge_chunks where id = $1) limit 10"
    )
    exactly = "set enable_indexscan = off; set enable_seqscan = on; set enable_sort = on"
    by_index = (
        f"set enable_indexscan = on; set enable_seqscan = off; set enable_sort = off; set ivfflat.probes = {probes}"
    )
    found = 0
    async with connect(dsn) as connection:
        for chunk in range(1, 161, 4):
            answers = []
            for settings in (exactly, by_index):
                await connection.execute(settings)
                answers.append({row["id"] for row in await connection.fetch(query, chunk)})
            found += len(answers[0] & answers[1])
    return found / 400


async def test_recall_rises_with_probes_and_is_ruined_by_an_index_built_on_40_rows(fleet: DemoFleet) -> None:
    few, many = await recall(fleet.dsn("production"), 1), await recall(fleet.dsn("production"), 20)
    assert 0.2 < few < 0.7
    assert 0.9 < many <= 1
    assert await recall(fleet.dsn("qa"), 20) < many - 0.2
    assert await recall(fleet.dsn("qa"), 100) > 0.99


async def test_a_second_start_finds_what_the_first_left_and_another_at_the_same_time_is_refused(scratch: Path) -> None:
    first = await start(scratch / "demo-twice")
    try:
        await ask(first.dsn("qa", OWNER), "delete from users where id = 1")
        with pytest.raises(DaemonError, match="another demonstration"):
            await start(scratch / "demo-twice")
        assert await ask(first.dsn("qa"), "select count(*) from users") == 4
    finally:
        await first.stop()
    told: list[str] = []
    second = await start(scratch / "demo-twice", lambda name, *_: told.append(name))
    try:
        assert not second.fresh
        assert told == []
        assert await ask(second.dsn("qa"), "select count(*) from users") == 4
    finally:
        await second.stop()


async def test_when_one_server_does_not_start_none_is_left_running(scratch: Path) -> None:
    directory = scratch / "demo-broken"
    directory.mkdir()
    (directory / "qa").write_text("in the way")
    with pytest.raises(DaemonError, match="qa cannot be made"):
        await start(directory)
    assert (directory / "production" / "PG_VERSION").exists()
    assert list(directory.glob("*/postmaster.pid")) == []
    (directory / "qa").unlink()
    await (await start(directory)).stop()


async def test_an_interrupted_start_leaves_no_server_running(scratch: Path) -> None:
    directory = scratch / "demo-interrupted"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await start(directory)
    assert (directory / "production").exists()
    assert list(directory.glob("*/postmaster.pid")) == []


@pytest.fixture
async def built(server: EmbeddedServer) -> AsyncIterator[Site]:
    """A small environment on the tests' own server, dropped afterwards."""
    site = SITE["development"]
    yield site
    await ask(server.dsn(), f"drop database if exists {site.database} with (force)")


async def test_an_unfinished_seed_is_redone(server: EmbeddedServer, built: Site) -> None:
    order = Order(ROWS, NOW)

    def interrupt(_done: int, _total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        await seed(built, server, order, interrupt)
    assert await ask(server.dsn(built.database), "select count(*) from knowledge_items") == 5
    assert await seed(built, server, order, lambda *_: None)
    assert await ask(server.dsn(built.database), "select count(*) from users") == 5
    assert not await seed(built, server, order, interrupt)
