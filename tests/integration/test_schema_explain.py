"""What of the scripts' revisions is in a real database in fact, and what is offered where the record says otherwise."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from fleet.connections import Connection
from fleet.environment import SchemaSettings
from fleet.revisions import RevisionGraph, read_graph
from fleet.schema import Catalogue, read_catalogue
from fleet.schema.explain import Explanation, Verdict, explain
from fleet.schema.history import History, read_history
from fleet.schema.remedies import Case, Remedy, remedies
from tests.integration.migration_trouble import script, settings, write_application
from tests.integration.sites import Site

START = """
op.execute("create type mood as enum ('sad', 'ok')")
op.create_table(
    "items", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("old_name", sa.Text()),
    sa.Column("unused", sa.Text()))
op.execute("create view named as select id, old_name from items")
op.execute(r"create function odd() returns text language sql as $$ select '\\:x 50%%(y)s \\\\'::text $$")
"""
ADD = """
op.add_column("items", sa.Column("new_field", sa.Text(), nullable=True))
op.create_index("items_new_field", "items", ["new_field"])
"""
CONCURRENT = """
with op.get_context().autocommit_block():
    op.execute("create index concurrently items_old_name on items (old_name)")
"""
TABLES = (
    'for number in range(44):\n    op.create_table(f"table_{number}", sa.Column("id", sa.Integer(), primary_key=True))'
)
SCRIPTS = {
    "start": script("start", None, START, "pass"),
    "rows": script("rows", "start", "op.execute(\"insert into items values (1, 'x', 'y')\")", "pass"),
    "add": script("add", "rows", ADD, "pass"),
    "left": script("left", "add", CONCURRENT, "pass"),
    "right": script("right", "add", 'op.drop_column("items", "unused")', "pass"),
    "merge": script("merge", ("left", "right"), "", "pass"),
    "tables": script("tables", "merge", TABLES, "pass"),
}
MADE = {
    "start": "create type mood as enum ('sad', 'ok'); create table items (id serial primary key, old_name text,"
    " unused text); create view named as select id, old_name from items;"
    r" create function odd() returns text language sql as $$ select ':x 50%%(y)s \\'::text $$",
    "add": "alter table items add new_field text; create index items_new_field on items (new_field)",
    "left": "create index items_old_name on items (old_name)",
    "right": "alter table items drop unused",
    "tables": ";".join(f"create table table_{number} (id serial primary key)" for number in range(44)),
}
P, M, S = Verdict.PRESENT, Verdict.MISSING, Verdict.SILENT


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> SchemaSettings:
    folder = write_application(tmp_path_factory.mktemp("application"), SCRIPTS)
    return SchemaSettings.model_validate(settings(folder))


@pytest.fixture(scope="module")
def graph(application: SchemaSettings) -> RevisionGraph:
    assert application.scripts is not None
    return read_graph(application.scripts)


_histories: dict[str, History] = {}


@pytest.fixture
async def history(application: SchemaSettings, graph: RevisionGraph) -> History:
    """Read once: it starts a server, and the application."""
    if "kept" not in _histories:
        _histories["kept"] = await read_history(application, graph)
    return _histories["kept"]


async def make(sql: Connection, *revisions: str, rows: Sequence[str] = ()) -> None:
    """What these revisions make, by hand, and what the version table says."""
    for revision in revisions:
        await sql.execute(MADE[revision])
    await sql.execute("create table alembic_version (version_num varchar(32) primary key)")
    await sql.execute("insert into alembic_version select unnest($1::text[])", list(rows))


def judged(
    actual: Catalogue, history: History, graph: RevisionGraph, rows: Collection[str]
) -> tuple[Explanation, dict[str, Verdict]]:
    found = explain(actual, history, graph, rows, ignore=("table:public.alembic_version",))
    return found, {one.revision: one.verdict for one in found.findings}


def offered(
    found: Explanation, actual: Catalogue, site: Site, graph: RevisionGraph, history: History, **fields: Any
) -> Mapping[str, Remedy]:
    ignore = {"migrations": {"ignore": ("table:public.alembic_version",)}}
    case = Case(site.environment(**(ignore | fields)), site.database, actual, graph, history)
    return {one.kind: one for one in remedies(found, case)}


@pytest.mark.parametrize(
    ("revisions", "rows", "expected", "in_fact"),
    [
        ((), (), {"start": M, "rows": S, "add": M, "left": M, "right": S, "merge": S, "tables": M}, set()),
        (("start",), ("rows",), {"start": P, "rows": S, "add": M, "right": M}, {"start", "rows"}),
        (("start", "add"), ("rows",), {"start": P, "rows": S, "add": P, "left": M}, {"start", "rows", "add"}),
        (
            ("start", "add", "right"),
            ("add",),
            {"add": P, "left": M, "right": P, "merge": S, "tables": M},
            {"start", "rows", "add", "right"},
        ),
        (("start", "add", "left", "right", "tables"), ("start",), {"merge": S, "tables": P}, {*SCRIPTS}),
        (("start", "add", "left", "right"), ("tables",), {"right": P, "tables": M}, {*SCRIPTS} - {"tables"}),
    ],
    ids=["nothing", "as_recorded", "one_by_hand", "one_branch", "all_by_hand", "recorded_and_missing"],
)
async def test_revisions_are_told_by_what_is_there(
    site: Site,
    history: History,
    graph: RevisionGraph,
    *,
    revisions: Sequence[str],
    rows: Sequence[str],
    expected: Mapping[str, Verdict],
    in_fact: Collection[str],
) -> None:
    await make(site.sql, *revisions, rows=rows)
    actual = await read_catalogue(site.sql)
    found, verdicts = judged(actual, history, graph, rows)
    assert {revision: verdicts[revision] for revision in expected} == expected
    assert found.in_fact == in_fact
    assert found.sound == (in_fact == graph.applied(rows))


async def test_a_column_that_exists_already_is_stamped_with_evidence(
    site: Site, history: History, graph: RevisionGraph
) -> None:
    await make(site.sql, "start", "add", rows=("rows",))
    actual = await read_catalogue(site.sql)
    found, _ = judged(actual, history, graph, ("rows",))
    offers = offered(found, actual, site, graph, history)
    assert list(offers) == ["stamp", "reset"]
    assert offers["stamp"].commands == (
        f"custode act stamp qa -p revision=add -p datname={site.database}",
        "custode migrate qa heads --plan",
    )
    assert offers["stamp"].evidence[0] == (
        "add: all that it does is there: column public.items.new_field, index public.items_new_field"
    )


async def test_half_a_revision_is_completed_by_sql_and_then_stamped(
    site: Site, history: History, graph: RevisionGraph
) -> None:
    await make(site.sql, "start", rows=("rows",))
    await site.sql.execute("alter table items add new_field text; create table by_hand (a int)")
    actual = await read_catalogue(site.sql)
    found, verdicts = judged(actual, history, graph, ("rows",))
    assert verdicts["add"] is Verdict.PARTLY
    assert [one.object for one in found.beyond] == ["public.by_hand"]
    repair = offered(found, actual, site, graph, history)["repair"]
    assert repair.sql == (
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS items_new_field ON public.items USING btree (new_field)",
    )
    assert repair.commands == (f"custode act stamp qa -p revision=add -p datname={site.database}",)
    assert repair.script is None  # revisions after it are not applied: one more could never run before them
    await run_all(site.sql, repair.sql)
    assert judged(await read_catalogue(site.sql), history, graph, ("add",))[0].sound


async def test_44_tables_that_are_missing_are_stamped_back_or_made(
    site: Site, application: SchemaSettings, history: History, graph: RevisionGraph, tmp_path: Path
) -> None:
    await make(site.sql, "start", "add", "left", "right", rows=("tables",))
    await site.sql.execute("create table table_7 (id serial primary key); alter table items add unused text")
    await site.sql.execute("drop function odd")
    actual = await read_catalogue(site.sql)
    found, verdicts = judged(actual, history, graph, ("tables",))
    assert (verdicts["tables"], verdicts["right"]) == (Verdict.PARTLY, Verdict.MISSING)
    repair = offered(found, actual, site, graph, history)["repair"]
    assert repair.evidence[0] == "start lacks function public.odd()"
    assert repair.evidence[2].startswith("tables lacks table public.table_0, table public.table_1, ")
    assert repair.evidence[2].endswith(" and 37 more")
    assert "ALTER TABLE public.items DROP COLUMN IF EXISTS unused" in repair.sql
    assert repair.script is not None
    # as one more revision it mends what lacks them, and does nothing elsewhere
    folder = write_application(tmp_path / "next", SCRIPTS | {"repair": repair.script})
    whole = read_graph(folder / "migrations" / "versions")
    (head,) = whole.heads
    mended = await read_history(application.model_copy(update={"directory": folder}), whole)
    assert (mended.broken, dict(mended.changes[head])) == (None, {})
    for _ in range(2):
        await run_all(site.sql, repair.sql)
        assert judged(await read_catalogue(site.sql), history, graph, ("tables",))[0].sound


async def test_a_record_that_is_ahead_of_the_schema_is_stamped_back(
    site: Site, history: History, graph: RevisionGraph
) -> None:
    await make(site.sql, "start", "add", "left", "right", rows=("tables",))
    actual = await read_catalogue(site.sql)
    found, _ = judged(actual, history, graph, ("tables",))
    offers = offered(found, actual, site, graph, history)
    assert list(offers) == ["stamp", "repair", "reset"]
    assert offers["stamp"].commands[0].endswith(f"-p revision=merge -p datname={site.database}")
    assert offers["stamp"].evidence[0].startswith("tables: nothing that it does is there: table public.table_0")
    assert len([one for one in offers["repair"].sql if one.startswith("CREATE TABLE IF NOT EXISTS")]) == 44


async def test_what_was_changed_by_hand_is_no_missing_revision(
    site: Site, history: History, graph: RevisionGraph
) -> None:
    await make(site.sql, "start", "add", rows=("add",))
    await site.sql.execute("alter table items alter new_field type varchar(9)")
    actual = await read_catalogue(site.sql)
    found, verdicts = judged(actual, history, graph, ("add",))
    assert verdicts["add"] is Verdict.CHANGED
    assert found.in_fact == graph.applied(["add"])
    assert not found.sound
    offers = offered(found, actual, site, graph, history)
    assert list(offers) == ["repair", "reset"]
    await run_all(site.sql, offers["repair"].sql)
    assert judged(await read_catalogue(site.sql), history, graph, ("add",))[0].sound


async def test_an_unknown_row_gives_way_to_what_is_there(site: Site, history: History, graph: RevisionGraph) -> None:
    await make(site.sql, "start", "add", rows=("lost",))
    actual = await read_catalogue(site.sql)
    found, _ = judged(actual, history, graph, ("lost",))
    assert found.unknown == ("lost",)
    stamp = offered(found, actual, site, graph, history)["stamp"]
    assert stamp.commands[0].startswith("custode act stamp qa -p revision=add")
    assert "lost is on record, and no script is called so" in stamp.evidence


@pytest.mark.parametrize(
    ("tier", "policy", "allowed"),
    [
        ("qa", {}, True),
        ("qa", {"consent": {"destructive": "forbidden"}}, False),
        ("qa", {"consent": {"actions": {"reset": "forbidden"}}}, False),
        ("production", {}, False),
    ],
    ids=["qa", "forbidden", "reset_forbidden", "production"],
)
async def test_a_reset_is_offered_where_the_tier_allows_it(
    site: Site, history: History, graph: RevisionGraph, *, tier: str, policy: Mapping[str, Any], allowed: bool
) -> None:
    await make(site.sql, "start", rows=("tables",))
    actual = await read_catalogue(site.sql)
    found, _ = judged(actual, history, graph, ("tables",))
    assert ("reset" in offered(found, actual, site, graph, history, tier=tier, policy=policy)) is allowed


async def test_scripts_that_break_are_told_as_far_as_they_go(
    site: Site, application: SchemaSettings, tmp_path: Path
) -> None:
    broken = script("broken", "add", 'op.execute("select 1/0")', "pass")
    after = script("after", "broken", 'op.execute("create table late (a int)")', "pass")
    kept = {name: SCRIPTS[name] for name in ("start", "rows", "add")}
    folder = write_application(tmp_path / "broken", kept | {"broken": broken, "after": after})
    graph = read_graph(folder / "migrations" / "versions")
    history = await read_history(application.model_copy(update={"directory": folder}), graph)
    assert history.broken is not None
    assert history.broken.revision == "broken"
    assert "division by zero" in history.broken.error
    await make(site.sql, "start", "add", rows=("rows",))
    actual = await read_catalogue(site.sql)
    found, verdicts = judged(actual, history, graph, ("rows",))
    assert (verdicts["add"], verdicts["broken"], verdicts["after"]) == (P, Verdict.UNKNOWN, Verdict.UNKNOWN)
    assert list(offered(found, actual, site, graph, history)) == ["stamp"]  # what breaks is nothing to make anew from
    # what could not be looked at is not stamped, be it on record
    found, _ = judged(actual, history, graph, ("after", "lost"))
    assert (
        offered(found, actual, site, graph, history)["stamp"]
        .commands[0]
        .startswith("custode act stamp qa -p revision=add ")
    )


async def test_an_extension_that_is_not_there_is_missing(
    site: Site, application: SchemaSettings, tmp_path: Path
) -> None:
    scripts = {"one": script("one", None, 'op.execute("create extension if not exists unaccent")', "pass")}
    folder = write_application(tmp_path / "extension", scripts)
    graph = read_graph(folder / "migrations" / "versions")
    moved = application.model_copy(update={"directory": folder})
    await make(site.sql)
    actual = await read_catalogue(site.sql)
    found, verdicts = judged(actual, await read_history(moved, graph), graph, ())
    assert verdicts == {"one": M}
    # where it is there, whoever made it, nothing is to be done
    await site.sql.execute("create extension unaccent")
    actual = await read_catalogue(site.sql)
    found, verdicts = judged(actual, await read_history(moved, graph, extensions=["unaccent"]), graph, ("one",))
    assert verdicts == {"one": S}
    assert found.sound
    assert not found.beyond


async def run_all(sql: asyncpg.Connection, statements: Sequence[str]) -> None:
    for statement in statements:
        await sql.execute(statement)
