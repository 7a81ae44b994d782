"""`NOTIFY custode` after a bulk import, heard by the daemon: collectors that come by once an hour run at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.embedded import EmbeddedServer
from tests.acceptance.conftest import until
from tests.acceptance.fleets import SECONDS, Daemon, databases, drop, environment, sql

HOURLY = {name: {"interval": "1h"} for name in ("vectors", "tables", "freshness", "recall")}
TABLE = (
    "create extension vector",
    "create table chunks (id int generated always as identity primary key, near vector(3))",
    "insert into chunks (near) select array[random(), random(), random()] from generate_series(1, 2000)",
    "create index by_near on chunks using ivfflat (near vector_l2_ops) with (lists = 10)",
    "analyze chunks",
)
IMPORT = "insert into chunks (near) select array[random(), random(), random()] from generate_series(1, 30000)"
ROWS, PROBED = "custode_vector_index_rows", "custode_vector_index_recall_probe_timestamp_seconds"


@pytest.fixture
def database(server: EmbeddedServer) -> Iterator[str]:
    names = databases(server, 1)
    yield server.dsn(names[0])
    drop(server, names)


@pytest.fixture
def daemon(server: EmbeddedServer, database: str, scratch: Path) -> Iterator[Daemon]:
    sql(database, *TABLE)
    name = database.split("?", maxsplit=1)[0].rpartition("/")[2]
    # the alert asks for a rebuild, and nobody answers: so what was heard stays to be seen
    place = environment(server, name, "qa", consent={"guarded": "one_approval"}, same_schema=False)
    started = Daemon(scratch / "listening", {"collectors": HOURLY, "environments": {"qa": place}})
    started.start()
    yield started
    started.close()


def test_an_import_is_seen_at_once_although_the_collectors_come_by_once_an_hour(daemon: Daemon, database: str) -> None:
    until(lambda: daemon.metrics().get((ROWS, "qa"), 0) > 0, "the index was looked at", SECONDS)
    until(lambda: daemon.metrics().get((PROBED, "qa"), 0) > 0, "its recall was probed", SECONDS)
    before = daemon.metrics()
    assert before[ROWS, "qa"] < 2500
    listens = "select count(*) from pg_stat_activity where application_name = 'custode-listen' and query ~* 'listen'"
    until(lambda: sql(database, listens)[0]["count"], "it listens", SECONDS)
    sql(database, IMPORT, "notify custode")
    until(lambda: daemon.metrics()[ROWS, "qa"] > 30_000, "the rows are counted", SECONDS)
    until(lambda: ("VectorIndexOutgrown", "qa") in daemon.alerts(), "the alert is there", SECONDS)
    (run,) = until(lambda: daemon.runs_of("rebuild_vector_index"), "a rebuild is asked for", SECONDS)
    assert run["requested_by"] == "alert VectorIndexOutgrown"
    assert daemon.metrics()[PROBED, "qa"] == before[PROBED, "qa"], "nobody asked for that"
    sql(database, "notify custode, 'recall'")
    until(lambda: daemon.metrics()[PROBED, "qa"] > before[PROBED, "qa"], "recall is probed anew", SECONDS)
