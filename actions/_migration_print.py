"""The SQL of each revision as Alembic prints it, what squawk says of it, and what it will lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from actions._action import Job
from actions._migration_place import Place
from fleet.errors import ProcessError
from fleet.migrating import Application, Estimate, Finding, Section, forecast, lint, sections, table_names
from fleet.migrating.forecast import Size, concurrent_indexes, runs_concurrently

_NO_ROOM = 256e6
# a partitioned table has nothing itself: what counts is in its partitions
_SIZES = """
    select name, sum(pg_table_size(c.oid))::float8 as bytes, sum(pg_indexes_size(c.oid))::float8 as index_bytes,
        sum(greatest(c.reltuples, 0))::float8 as rows
    from unnest($1::text[]) name
    cross join lateral (select to_regclass(name)) root(oid)
    cross join lateral (select root.oid::oid union select relid from pg_partition_tree(root.oid)) part(oid)
    join pg_catalog.pg_class c on c.oid = part.oid
    where c.relkind <> 'p' group by name
"""


@dataclass(frozen=True, slots=True)
class Printed:
    """One revision; where `trouble` is set, it cannot be printed, and nothing is known of it."""

    revision: str
    section: Section | None = None
    estimates: Sequence[Estimate] = ()
    findings: Sequence[Finding] = ()
    trouble: str = ""

    @property
    def builds(self) -> list[str]:
        """Indexes that it builds concurrently, as written."""
        return concurrent_indexes(self.section.statements) if self.section else []

    @property
    def concurrently(self) -> bool:
        return self.section is not None and runs_concurrently(self.section.statements)

    @property
    def held(self) -> Estimate | None:
        """The statement that holds others up the longest."""
        return max(self.estimates, key=lambda one: one.held, default=None)


@dataclass(slots=True)
class _Text:
    by_revision: dict[str, Section] = field(default_factory=dict)
    trouble: dict[str, str] = field(default_factory=dict)


async def print_upgrades(job: Job, application: Application, place: Place, revisions: Sequence[str]) -> list[Printed]:
    """Each revision in its order, judged for the server and the tables that it will meet.

    Raises:
        ProcessError: squawk is not there.
    """
    graph, text = place.graph, _Text()
    starts = [place.position.current[0] if place.position.current else "base", *revisions[:-1]]
    if _is_straight(place, revisions, starts):  # which is the rule: one print tells all
        await _print(application, "upgrade", f"{starts[0]}:{revisions[-1]}", revisions, text)
    else:
        for one in revisions:
            # of a merge, this tells the other branch, too, which is passed over
            await _print(application, "upgrade", f"{min(graph.down[one], default='base')}:{one}", [one], text)
    return await _judge(job, place, revisions, text, job.environment.migrations.ignored_rules)


async def print_downgrades(job: Job, application: Application, place: Place, revisions: Sequence[str]) -> list[Printed]:
    """The same of the way back, `revisions` in the order in which they are taken back; squawk is not asked."""
    text = _Text()
    ends = [*revisions[1:], min(place.graph.down[revisions[-1]], default="base")]
    if len(place.position.current) == 1 and _is_straight(place, revisions, ends):
        await _print(application, "downgrade", f"{revisions[0]}:{ends[-1]}", revisions, text)
    else:
        text.trouble = dict.fromkeys(revisions, "of branches, Alembic does not print the way back")
    return await _judge(job, place, revisions, text, None)


def _is_straight(place: Place, revisions: Sequence[str], before: Sequence[str]) -> bool:
    """Whether each follows the one of `before` and needs no other."""
    expected = [frozenset() if one == "base" else frozenset({one}) for one in before]
    alone = all(place.graph.parents[one] == parents for one, parents in zip(revisions, expected, strict=True))
    return alone and len(place.position.current) <= 1


async def _print(application: Application, command: str, range_: str, revisions: Sequence[str], text: _Text) -> None:
    try:
        printed = await application.print_sql(command, range_)
    except ProcessError as error:
        text.trouble.update(dict.fromkeys(revisions, error.message))
        return
    for section in sections(printed, application.settings.version_table):
        ids = section.after if command == "upgrade" else section.before
        text.by_revision.update({one: section for one in ids if one in revisions})


async def _judge(
    job: Job, place: Place, revisions: Sequence[str], text: _Text, ignored: Sequence[str] | None
) -> list[Printed]:
    statements = [one for section in text.by_revision.values() for one in section.statements]
    sizes = await _sizes(job, place, sorted(table_names(statements)))
    found = []
    for revision in revisions:
        section = text.by_revision.get(revision)
        if section is None:
            found.append(Printed(revision, trouble=text.trouble.get(revision, "Alembic printed nothing of it")))
            continue
        findings = await lint(section.script, server=place.server, ignored=ignored) if ignored is not None else []
        found.append(Printed(revision, section, forecast(section.statements, sizes), findings))
    return found


async def _sizes(job: Job, place: Place, names: Sequence[str]) -> Mapping[str, Size]:
    async with job.connections.acquire(place.datname) as connection:
        records = await connection.fetch(_SIZES, list(names))
    return {row["name"]: Size(row["bytes"], row["index_bytes"], row["rows"]) for row in records}


def statement_lines(one: Printed) -> list[str]:
    """Its SQL, for people."""
    return [f"  {each.short}" for each in one.section.statements] if one.section is not None else [f"  {one.trouble}"]


def forecast_lines(printed: Sequence[Printed]) -> list[str]:
    """What each statement will lock, and what squawk remarks."""
    lines = [f"  {one.revision}: {each.statement.short}: {each}" for one in printed for each in one.estimates]
    lines += [f"  {one.revision}: {each}" for one in printed for each in one.findings]
    return ["forecast and remarks:", *lines] if lines else []


def room(printed: Sequence[Printed]) -> float:
    """Bytes that it takes on the server's disk; 0 where that is not worth asking how full it is."""
    found = sum(each.disk_bytes for one in printed for each in one.estimates)
    return found if found >= _NO_ROOM else 0.0
