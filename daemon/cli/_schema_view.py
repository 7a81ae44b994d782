"""How schemas, and what they differ in, look on a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from daemon.cli._schema_read import Standing, Stood
from daemon.schemas import Compared, Schema, suggested
from fleet.revisions import Position
from fleet.schema import Difference, SchemaObject, render

_SHOWN_DIGITS = 12


def plain(text: str) -> str:
    """Names in a database may hold what a terminal obeys."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def sign(well: bool, text: str) -> Text:
    return Text("✓ " if well else "✗ ", "green" if well else "bold red").append(text, "none")


def standings(found: Sequence[Stood]) -> Iterator[RenderableType]:
    """One line a database, and below what could not be read."""
    table = Table("environment", "database", "revision", "scripts", "schema", "reference")
    for stood in found:
        for one in stood.databases:
            table.add_row(
                Text(stood.environment.name),
                Text(plain(one.schema.database)),
                Text(plain(", ".join(one.schema.rows or ()) or "none")),
                _position(one),
                Text(one.schema.catalogue.fingerprint[:_SHOWN_DIGITS]),
                _reference(one),
            )
    yield table
    for stood in found:
        for name, why in stood.problems.items():
            what = f"{stood.environment.name} {plain(name)}".strip()
            yield Text(f"  ! {what} cannot be read: {plain(why)}", "red")


def well(stood: Stood) -> bool:
    """Whether it is where it should be, as far as anybody told where that is."""
    return not stood.problems and all(
        (one.position is None or one.position.at_head) and (one.beside is None or one.beside.equal)
        for one in stood.databases
    )


def standing_json(stood: Stood) -> dict[str, Any]:
    return {
        "environment": stood.environment.name,
        "problems": dict(stood.problems),
        "databases": [
            {
                "database": one.schema.database,
                "fingerprint": one.schema.catalogue.fingerprint,
                "migrating": one.schema.flight.migrating,
                "revisions": None if one.schema.rows is None else list(one.schema.rows),
                "scripts": None if one.position is None else _position_json(one.position),
                "reference": None if one.beside is None else one.beside.against,
                "differences": None if one.beside is None else len(one.beside.differences),
            }
            for one in stood.databases
        ],
    }


def fingerprint_json(schema: Schema) -> dict[str, Any]:
    return {
        "environment": schema.environment.name,
        "database": schema.database,
        "fingerprint": schema.catalogue.fingerprint,
        "server_version": schema.catalogue.version,
        "objects": {kind: count for kind, count in schema.catalogue.count().items() if count},
    }


def comparison(one: Compared, *, sql: bool) -> Iterator[Text]:
    """The differences, or the SQL that would remove them."""
    where = f"{one.schema.environment.name}/{plain(one.schema.database)}"
    if one.migrating:
        yield sign(False, f"{where}: a migration is under way in {', '.join(one.migrating)}; ask when it has ended")
    elif not one.differences:
        yield sign(True, f"{where} is as {_against(one)}")
    elif sql:
        yield Text(f"-- {where} to be as {_against(one)}: read it first, and have a backup", "dim")
        yield from (Text(f"{line};" if not line.startswith("--") else line) for line in suggested(one))
    else:
        count = len(one.differences)
        yield sign(False, f"{where} differs from {_against(one)} in {count} object{'s' if count != 1 else ''}")
        yield Text(render(one.differences))


def comparison_json(one: Compared) -> dict[str, Any]:
    return {
        "environment": one.schema.environment.name,
        "database": one.schema.database,
        "against": one.against,
        "migrating": list(one.migrating),
        "differences": [_difference_json(each) for each in one.differences],
        "sql": suggested(one),
    }


def _against(one: Compared) -> str:
    return one.against or "the scripts make it"


def _difference_json(one: Difference) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "object": one.object,
        "change": one.change,
        "details": list(one.details),
        "is": _object_json(one.was),
        "should_be": _object_json(one.is_),
    }


def _object_json(one: SchemaObject | None) -> dict[str, Any] | None:
    return None if one is None else {"name": one.path, "definition": dict(one.definition)}


def _position(one: Standing) -> Text:
    found = one.position
    if found is None:
        return Text("-", "dim")
    parts = []
    if found.unknown:
        parts.append(f"unknown: {plain(', '.join(found.unknown))}")
    if found.branched:
        parts.append(f"{len(found.current)} branches")
    if found.behind:
        parts.append(f"{len(found.behind)} behind")
    if found.ahead:
        parts.append(f"{len(found.ahead)} ahead of the reference")
    return Text(", ".join(parts) or "at head", "green" if found.at_head else "yellow")


def _position_json(found: Position) -> dict[str, Any]:
    return {
        "heads": list(found.heads),
        "unknown": list(found.unknown),
        "behind": None if found.behind is None else list(found.behind),
        "ahead": None if found.ahead is None else list(found.ahead),
    }


def _reference(one: Standing) -> Text:
    if one.schema.flight.migrating:
        return Text("a migration is under way", "yellow")
    if one.beside is None:
        return Text("-", "dim")
    if one.beside.migrating:
        return Text(f"{one.beside.against} is migrating", "yellow")
    count = len(one.beside.differences)
    if not count:
        return Text(f"as {one.beside.against}", "green")
    return Text(f"{count} difference{'s' if count != 1 else ''}", "yellow")
