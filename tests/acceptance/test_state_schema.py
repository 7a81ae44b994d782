"""`custode state`, and a schema that a newer Custode made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.embedded import EmbeddedServer
from tests.acceptance.fleets import Daemon, databases, drop, environment, sql

TABLES = """
    select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnum
    from pg_class c join pg_attribute a on a.attrelid = c.oid
    where c.relnamespace = 'custode'::regnamespace order by 1, 4
"""


@pytest.fixture
def state(server: EmbeddedServer) -> Iterator[str]:
    """The URL of an empty database."""
    (name,) = databases(server, 1)
    yield server.dsn(name)
    drop(server, [name])


def everything(state: str) -> list[Any]:
    return [sql(state, TABLES), sql(state, "table custode.alembic_version"), sql(state, "table custode.member")]


def test_it_is_migrated_and_one_from_the_future_is_refused_untouched(
    tmp_path: Path, state: str, server: EmbeddedServer
) -> None:
    settings = {"state": {"url": state}, "environments": {"dev": environment(server, "postgres")}}
    daemon = Daemon(tmp_path, settings)
    daemon.configure()
    assert daemon.command("state", "check", status=1)["revision"]["current"] is None
    assert sql(state, "select to_regnamespace('custode')")[0][0] is None, "it was only looked at"
    assert "up to date" in daemon.custode("state", "migrate", status=0).stdout

    sql(state, "update custode.alembic_version set version_num = '9999'")
    before = everything(state)
    for command in (("run",), ("state", "migrate")):
        refused = daemon.custode(*command, status=2)
        assert "at revision 9999, newer than this Custode knows" in refused.stderr
        assert "hint: upgrade Custode" in refused.stderr
    assert daemon.command("state", "check", status=1)["newer"] is True
    assert everything(state) == before
