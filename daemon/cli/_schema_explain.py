"""Which revisions a database has in fact, read from its server and tried on one of ours; and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from daemon.cli._schema_read import read_scripted_graph
from daemon.cli._schema_view import plain, sign
from daemon.schemas import Schema, read_schemas
from fleet.environment import Environment
from fleet.errors import ConfigError, ConnectError
from fleet.revisions import RevisionGraph
from fleet.schema import render
from fleet.schema.explain import Explanation, Finding, Verdict, explain
from fleet.schema.history import History, read_history
from fleet.schema.objects import SchemaObject
from fleet.schema.remedies import Case, Remedy, listed, remedies

_COLOURS = {Verdict.PRESENT: "green", Verdict.SILENT: "dim", Verdict.UNKNOWN: "dim"}
_WORDS = {
    Verdict.PRESENT: "present",
    Verdict.CHANGED: "present, changed since",
    Verdict.PARTLY: "partly present",
    Verdict.MISSING: "missing",
    Verdict.SILENT: "leaves no trace",
    Verdict.UNKNOWN: "cannot be told",
}


@dataclass(frozen=True, slots=True)
class Explained:
    """A database, what was found of each revision, and what can be done."""

    schema: Schema
    graph: RevisionGraph
    history: History
    found: Explanation
    remedies: tuple[Remedy, ...]

    @property
    def sound(self) -> bool:
        return self.found.sound and self.history.broken is None


async def explained(environment: Environment, database: str | None) -> list[Explained]:
    """Those of its databases that Alembic was in; the only one, or the one that is named, in any case.

    Raises:
        ConfigError: the scripts are not configured, or cannot be read or run.
        ConnectError: it cannot be read, or a migration is under way.
        DaemonError: our own server does not start.
    """
    graph = await read_scripted_graph(environment)
    if graph is None or environment.migrations.directory is None:
        raise ConfigError(
            f"{environment.name} does not say where the application's scripts are and how they are run",
            hint="set migrations.scripts or migrations.git, and migrations.directory",
        )
    schemas = await read_schemas(environment, database)
    if len(schemas) > 1:
        schemas = [schema for schema in schemas if schema.rows is not None]
    if not schemas:
        raise ConnectError(
            f"no database of {environment.name} has the table {environment.migrations.version_table}",
            hint="say which one: --database",
        )
    return [await _explained(schema, graph) for schema in schemas]


async def _explained(schema: Schema, graph: RevisionGraph) -> Explained:
    if schema.flight.migrating:
        raise ConnectError(
            f"a migration is under way in {schema.database} of {schema.environment.name}", hint="ask when it has ended"
        )
    settings = schema.environment.migrations
    extensions = [one.name for one in schema.catalogue.objects if one.kind == "extension"]
    history = await read_history(settings, graph, extensions=extensions)
    table = settings.version_table if "." in settings.version_table else f"public.{settings.version_table}"
    actual = schema.catalogue.without((f"table:{table}",))
    found = explain(actual, history, graph, schema.rows or (), ignore=settings.ignore)
    case = Case(schema.environment, schema.database, actual, graph, history)
    return Explained(schema, graph, history, found, tuple(remedies(found, case)))


def as_json(one: Explained) -> dict[str, Any]:
    found, broken = one.found, one.history.broken
    return {
        "environment": one.schema.environment.name,
        "database": one.schema.database,
        "sound": one.sound,
        "recorded": list(one.schema.rows or ()),
        "unknown": list(found.unknown),
        "in_fact": sorted(one.graph.tips(found.in_fact)),
        "revisions": [_finding_json(each, one.graph) for each in found.findings],
        "lacking": [f"{each.kind} {each.object}: {each.change}" for each in found.lacking],
        "beyond": [f"{each.kind} {each.object}" for each in found.beyond],
        "broken": None if broken is None else {"revision": broken.revision, "error": broken.error},
        "remedies": [
            {
                "kind": each.kind,
                "summary": each.summary,
                "evidence": list(each.evidence),
                "commands": list(each.commands),
                "sql": list(each.sql),
                "script": each.script,
            }
            for each in one.remedies
        ],
    }


def told(one: Explained, *, draft: bool) -> Iterator[RenderableType]:
    """For people; with the drafted revision where that is asked for."""
    found, schema = one.found, one.schema
    head = f"{schema.environment.name}/{schema.database}: on record {_ids(schema.rows or ())}"
    yield sign(one.sound, f"{head}, in fact {_ids(sorted(one.graph.tips(found.in_fact)))}")
    table = Table("revision", "on record", "in fact", "what it does")
    for each in found.findings:
        title = one.graph.revisions[each.revision].title
        name = Text(plain(each.revision)).append(f"\n{plain(title)}" if title else "", "dim")
        verdict = Text(_WORDS[each.verdict], _COLOURS.get(each.verdict, "yellow"))
        table.add_row(name, "yes" if each.recorded else "no", verdict, Text("\n".join(_signs(each))))
    yield table
    if one.history.broken is not None:
        broken = one.history.broken
        yield Text(f"the scripts do not run from nothing: {plain(broken.revision)}: {plain(broken.error)}", "red")
    if found.unknown:
        yield Text(f"no script is called {plain(_ids(found.unknown))}, which is on record", "red")
    if found.lacking:
        yield Text(f"What it lacks to have all of them:\n{render(found.lacking)}")
    if found.beyond:
        names = ", ".join(f"{each.kind.replace('_', ' ')} {plain(each.object)}" for each in found.beyond)
        whose = "No revision" if one.history.broken is None else "No revision that runs"
        yield Text(f"{whose} makes: {names}", "dim")
    for number, remedy in enumerate(one.remedies, 1):
        yield from _remedy(number, remedy, draft=draft)


def _remedy(number: int, one: Remedy, *, draft: bool) -> Iterator[Text]:
    yield Text(f"{number}. {one.kind}: ", "bold").append(plain(one.summary), "none")
    yield from (Text(f"   because {plain(line)}") for line in one.evidence)
    if draft and one.script is not None:
        yield Text(one.script, "cyan")
    else:
        yield from (Text(_indented(f"{statement};"), "cyan") for statement in one.sql)
        if one.script is not None:
            yield Text("   --draft prints it as a revision of Alembic", "dim")
    yield from (Text(f"   $ {plain(command)}", "cyan") for command in one.commands)


def _indented(statement: str) -> str:
    return "\n".join(f"   {plain(line)}" for line in statement.split("\n"))


def _signs(one: Finding) -> Iterable[str]:
    for what, objects in (("has", one.present), ("lacks", one.missing), ("has another", one.changed)):
        if objects:
            yield f"{what} {plain(listed(objects))}"


def _finding_json(one: Finding, graph: RevisionGraph) -> dict[str, Any]:
    return {
        "revision": one.revision,
        "title": graph.revisions[one.revision].title,
        "recorded": one.recorded,
        "verdict": one.verdict.value,
        "present": _paths(one.present),
        "missing": _paths(one.missing),
        "changed": _paths(one.changed),
    }


def _paths(objects: Iterable[SchemaObject]) -> list[str]:
    return [f"{one.kind} {one.path}" for one in objects]


def _ids(ids: Sequence[str]) -> str:
    return plain(", ".join(ids)) or "nothing"
