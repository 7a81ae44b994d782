"""`custode migrate` through a running daemon: the lower tier first, then the one that waits for it."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.embedded import EmbeddedServer
from tests.acceptance.fleets import Daemon, databases, drop, environment, sql
from tests.integration.migration_trouble import KIT, settings, write_application

ACCOUNT = pwd.getpwuid(os.geteuid()).pw_name
START = (
    "create table notes (id serial primary key, text text)",
    "create table migrated (what text)",
    "create table alembic_version (version_num varchar(32) not null constraint alembic_version_pkc primary key)",
    "insert into alembic_version values ('one')",
)


@pytest.fixture
def daemon(scratch: Path, server: EmbeddedServer) -> Iterator[Daemon]:
    folder = scratch / "migrating"
    folder.mkdir()
    application = write_application(folder / "application", KIT)
    said = settings(application)
    del said["tried_on"]  # the daemon tells
    said |= {name: str(said[name]) for name in ("scripts", "directory")} | {"command": list(said["command"])}
    names = databases(server, 2)
    places = {}
    for place, database in zip(("development", "qa"), names, strict=True):
        sql(server.dsn(database), *START)
        places[place] = {**environment(server, database, place), "migrations": said}
    store = {"local": {"type": "local", "path": str(folder / "store")}}
    operators = {"anna": {"local_user": ACCOUNT}}
    daemon = Daemon(folder, {"stores": store, "operators": operators, "environments": places})
    try:
        daemon.start()
        yield daemon
        assert "Traceback" not in daemon.log.read_text()
    finally:
        daemon.close()
        drop(server, names)


def test_the_lower_tier_comes_first(daemon: Daemon) -> None:
    refused = daemon.custode("migrate", "qa", "--plan", status=2)
    assert "✗ below: development is at one and lacks two, three" in refused.stderr

    plan = daemon.custode("migrate", "development", "--plan", status=0).stdout
    for said in (
        "step     upgrade two",
        "alembic upgrade three",
        "create index concurrently if not exists notes_at on notes (at)",
        "✓ below: no environment comes first",
        "way back: custode act downgrade development -p revision=one",
        "risk     dangerous",
    ):
        assert said in plan, plan
    done = daemon.custode("migrate", "development", status=0).stdout
    assert "fixed" in done
    done = daemon.custode("migrate", "qa", "--reason", "a release", status=0).stdout
    for said in ("rehearse", "backup", "upgrade two", "upgrade three", "check", "is at three, as it was rehearsed"):
        assert said in done, done
    dsn = daemon.settings["environments"]["qa"]["dsn"]
    assert sql(dsn, "select what from migrated order by 1") == [("up 2",), ("up 3",)]
    back = daemon.custode("act", "downgrade", "qa", "-p", "revision=one", status=0).stdout
    assert "is at one" in back
    assert sql(dsn, "select version_num from alembic_version") == [("one",)]
