"""Each fault yields success=0 for what it touched and a clear message, and loses nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from structlog.testing import capture_logs

from collectors import Collector, Rows, Target
from fleet.embedded import EmbeddedServer
from fleet.secrets import SecretText
from tests.conftest import FAST, EnvironmentMaker
from tests.scraping import HOUR, PerDatabase, Probe, Sleeper, scraping

HBA = "local all guarded scram-sha-256\nlocal all all trust\n"


@pytest.fixture(scope="module")
def own_server(scratch: Path) -> Iterator[EmbeddedServer]:
    """A server that a test may stop, and that wants a password from the role `guarded`."""
    running = EmbeddedServer.start(scratch / "own", settings=FAST)
    (running.data_dir / "pg_hba.conf").write_text(HBA)
    yield running
    running.stop()


@pytest.fixture
async def admin(own_server: EmbeddedServer) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(own_server.dsn())
    await connection.execute("select pg_reload_conf()")
    yield connection
    await connection.close()


async def test_an_unreachable_host_loses_nothing_of_its_neighbour(make_environment: EnvironmentMaker) -> None:
    gone = make_environment("gone", dsn=SecretText("postgresql://nobody@127.0.0.1:1/app"))
    async with scraping(gone, make_environment(), collectors=(Probe,)) as running:
        await running.until(lambda: running.scraper.not_ready() is None)
        assert running.value("custode_up", environment="gone") == "0"
        assert running.value("custode_collector_success", environment="gone", collector="probe") == "0"
        assert running.value("custode_collector_last_success_timestamp_seconds", environment="gone") is None
        assert running.value("custode_probe_answer", environment="gone") is None
        assert running.value("custode_up", environment="qa") == "1"
        assert running.value("custode_probe_answer", environment="qa") == "42"
        [batch] = running.of("gone", "probe")
        assert "gone: cannot connect" in str(batch.error)


async def test_a_wrong_password_is_told_and_a_right_one_recovers(
    own_server: EmbeddedServer,
    admin: asyncpg.Connection,
    make_environment: EnvironmentMaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await admin.execute("drop role if exists guarded")
    await admin.execute("create role guarded login password 'right-one'")
    monkeypatch.setenv("GUARDED_PASSWORD", "wrong-one")
    dsn = own_server.dsn(user="guarded").replace("guarded@", "guarded:${env:GUARDED_PASSWORD}@")
    with capture_logs() as logs:
        async with scraping(make_environment(dsn=SecretText(dsn)), collectors=(Probe,)) as running:
            await running.scraper.scrape_now("qa")
            await running.scraper.scrape_now("qa")
            assert running.value("custode_up") == "0"
            assert "password authentication failed" in str(running.batches[-1].error)
            assert "pg_hba.conf" in str(running.batches[-1].error)
            monkeypatch.setenv("GUARDED_PASSWORD", "right-one")
            await running.scraper.scrape_now("qa")
            assert running.value("custode_up") == "1"
            assert running.value("custode_probe_answer") == "42"
    events = [entry["event"] for entry in logs if entry["event"].startswith("collector_")]
    assert events == ["collector_failed", "collector_recovered"]
    assert "wrong-one" not in str(logs)


async def test_a_database_dropped_between_two_scrapes(
    make_environment: EnvironmentMaker, sql: asyncpg.Connection, database: str
) -> None:
    other = f"{database}_other"
    await sql.execute(f'create database "{other}"')
    named = make_environment("named", databases=(database, other))
    async with scraping(make_environment(databases=None), named, collectors=(PerDatabase,)) as running:
        await running.until(lambda: running.scraper.not_ready() is None)
        assert running.value("custode_probe_database", environment="qa", datname=other) == "1"
        await sql.execute(f'drop database "{other}" with (force)')
        for environment in ("qa", "named"):
            await running.scraper.scrape_now(environment)
            assert running.value("custode_probe_database", environment=environment, datname=other) is None
            assert running.value("custode_probe_database", environment=environment, datname=database) == "1"
            assert running.value("custode_up", environment=environment) == "1"
        assert running.value("custode_collector_success", environment="qa") == "1"
        assert running.value("custode_collector_success", environment="named") == "0"
        assert other in str(running.batches[-1].problem)


class LockedTable(Collector):
    """Reads a table."""

    name = "locked_table"
    summary = "for tests"
    families = Probe.families

    async def collect(self, target: Target) -> list[Rows]:
        return [self.families[0].rows(await target.fetch_each("select count(*) from locked"))]


async def test_a_table_under_access_exclusive_lock_costs_its_reader_only(
    make_environment: EnvironmentMaker, sql: asyncpg.Connection
) -> None:
    await sql.execute("create table locked (id int)")
    async with sql.transaction():
        await sql.execute("lock table locked in access exclusive mode")
        async with scraping(make_environment(), collectors=(LockedTable, PerDatabase)) as running:
            await running.until(lambda: running.scraper.not_ready() is None)
            assert running.value("custode_collector_success", collector="locked_table") == "0"
            assert "lock timeout" in str(running.of("qa", "locked_table")[0].problem)
            assert running.value("custode_collector_success", collector="per_database") == "1"
            assert running.value("custode_up") == "1"


async def test_a_query_past_its_deadline_is_ended_on_the_server_too(
    make_environment: EnvironmentMaker, sql: asyncpg.Connection
) -> None:
    options = {"sleeper": Collector.Options(interval=HOUR, timeout=timedelta(seconds=0.3))}
    environment = make_environment(connections=1)
    async with scraping(environment, collectors=(Sleeper, Probe), options=options) as running:
        await running.until(lambda: running.scraper.not_ready() is None)
        [batch] = running.of("qa", "sleeper")
        assert batch.error == "not finished within 0.3 s"
        assert 0.2 < batch.duration < 60  # it would sleep for an hour
        assert running.value("custode_collector_success", collector="sleeper") == "0"
        assert running.value("custode_collector_success", collector="probe") == "1"
        assert not await sql.fetchval("select count(*) from pg_stat_activity where wait_event = 'PgSleep'")


async def test_a_restart_of_the_server_during_a_scrape(
    own_server: EmbeddedServer, make_environment: EnvironmentMaker, sql: asyncpg.Connection
) -> None:
    own = make_environment("own", dsn=SecretText(own_server.dsn()))
    options = {"sleeper": Collector.Options(interval=HOUR, timeout=timedelta(seconds=30))}
    async with scraping(own, make_environment(), collectors=(Sleeper, Probe), options=options) as running:
        await running.until(lambda: bool(running.of("own", "probe") and running.of("qa", "probe")))
        await _sleeping(own_server)
        await asyncio.to_thread(own_server.stop)
        await running.until(lambda: bool(running.of("own", "sleeper")))
        [batch] = running.of("own", "sleeper")
        assert not batch.success
        await running.scraper.scrape_now("own", ["probe"])
        assert running.value("custode_up", environment="own") == "0"
        assert running.value("custode_probe_answer", environment="own") is None
        assert running.value("custode_probe_answer", environment="qa") == "42"

        restarted = await asyncio.to_thread(EmbeddedServer.start, own_server.data_dir, settings=FAST)
        try:
            await running.scraper.scrape_now("own", ["probe"])
            assert running.value("custode_up", environment="own") == "1"
            assert running.value("custode_probe_answer", environment="own") == "42"
            assert running.value("custode_collector_success", environment="own", collector="probe") == "1"
        finally:
            await running.scraper.stop()
            await asyncio.to_thread(restarted.stop)


_WAIT = """
do $$ begin
    for attempt in 1..1000 loop
        exit when exists (select from pg_stat_activity where wait_event = 'PgSleep' and pid <> pg_backend_pid());
        perform pg_sleep(0.01);
        perform pg_stat_clear_snapshot();
    end loop;
end $$
"""


async def _sleeping(server: EmbeddedServer) -> None:
    """Wait until the sleeper's query runs in the server, for 10 seconds at most."""
    connection = await asyncpg.connect(server.dsn())
    await connection.execute(_WAIT)
    await connection.close()


class Raises(Collector):
    """Breaks."""

    name = "raises"
    summary = "for tests"
    families = ()

    async def collect(self, _target: Target) -> list[Rows]:
        raise ExceptionGroup("several", [KeyError("the bug")])


class Malformed(Collector):
    """Gives a text where a number belongs."""

    name = "malformed"
    summary = "for tests"
    families = Probe.families

    async def collect(self, _target: Target) -> list[Rows]:
        return [self.families[0].rows([("much",)])]


async def test_a_broken_collector_costs_its_own_samples_only(make_environment: EnvironmentMaker) -> None:
    async with scraping(make_environment(), collectors=(Raises, Malformed, PerDatabase)) as running:
        await running.until(lambda: running.scraper.not_ready() is None)
        for name, message in (("raises", "KeyError: 'the bug'"), ("malformed", "'much' is a text")):
            [batch] = running.of("qa", name)
            assert message in str(batch.error)
            assert (batch.rows, batch.series) == ((), 0)
            assert running.value("custode_collector_success", collector=name) == "0"
        assert running.value("custode_collector_success", collector="per_database") == "1"
        assert running.value("custode_probe_answer") is None


class SeesLess(Collector):
    """May not see something."""

    name = "sees_less"
    summary = "for tests"
    families = ()

    async def collect(self, target: Target) -> list[Rows]:
        target.gap("pg_hba", "permission denied")
        return []


async def test_what_a_role_may_not_see_is_a_series_and_one_line_of_log(make_environment: EnvironmentMaker) -> None:
    with capture_logs() as logs:
        async with scraping(make_environment(), collectors=(SeesLess,)) as running:
            await running.scraper.scrape_now("qa")
            await running.scraper.scrape_now("qa")
            labels = {"collector": "sees_less", "what": "pg_hba", "reason": "permission denied"}
            assert running.value("custode_collector_gap_info", **labels) == "1"
            assert running.value("custode_collector_success", collector="sees_less") == "1"
            assert running.value("custode_up") is None, "nobody asked the server"
    assert [entry["event"] for entry in logs].count("collector_sees_less") == 1


class FailsInAnyOrder(Collector):
    """Two databases fail, now the one first and now the other."""

    name = "fails_in_any_order"
    summary = "for tests"
    families = ()
    runs = 0

    async def collect(self, target: Target) -> list[Rows]:
        self.runs += 1
        for name in ("one", "two") if self.runs % 2 else ("two", "one"):
            target.failed(name, TimeoutError("too slow"))
        return []


async def test_a_lasting_fault_of_several_databases_is_one_line_of_log(make_environment: EnvironmentMaker) -> None:
    with capture_logs() as logs:
        async with scraping(make_environment(), collectors=(FailsInAnyOrder,)) as running:
            await running.until(lambda: running.scraper.not_ready() is None)
            await running.scraper.scrape_now("qa")
            await running.scraper.scrape_now("qa")
            assert {"one", "two"} == running.batches[-1].failures.keys()
    assert [entry["event"] for entry in logs].count("collector_failed") == 1
