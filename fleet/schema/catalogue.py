"""Reads the schema of a database as a catalogue: one statement, one snapshot, no lock above ACCESS SHARE."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

from fleet.connections import Connection
from fleet.schema.objects import Catalogue, SchemaObject
from fleet.schema.queries import SETTINGS, catalogue_sql


async def read_catalogue(connection: Connection, *, comments: bool = False, grants: bool = False) -> Catalogue:
    """What is in the database of `connection`, as its role may see it.

    Raises:
        asyncpg.LockNotAvailableError: somebody holds a table locked, which hides the whole: the deparse functions
            open what they tell of.
        asyncpg.PostgresError: it cannot be read for another reason.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.fetch(SETTINGS)
        records = await connection.fetch(catalogue_sql(comments=comments, grants=grants))
    # thousands of objects take some hundredths of a second
    return await asyncio.to_thread(to_catalogue, records, connection.get_server_version().major)


def to_catalogue(records: Iterable[Iterable[Any]], version: int) -> Catalogue:
    """The catalogue that records of `catalogue_sql` tell of."""
    return Catalogue.of((_object(*record) for record in records), version)


def _object(kind: Any, name: str, relation: str | None, definition: str) -> SchemaObject:
    parts = {part: value for part, value in json.loads(definition).items() if value is not None}
    return SchemaObject(kind, name, relation, _index(parts) if kind == "index" else parts)


def _index(parts: Mapping[str, str]) -> dict[str, str]:
    """Take the text of CREATE INDEX apart: what follows the table's name, without options and predicate."""
    rest = dict(parts)
    text = rest.pop("text")
    if "where" in rest:
        text = text.removesuffix(f" WHERE {rest['where']}")
    if rest.pop("has options", None):
        text = text[: text.rindex(" WITH (")]
    # a quoted name may hold anything, so the method is looked for behind the names
    return {"definition": text[_end_of_names(text) :]} | rest


def _end_of_names(text: str) -> int:
    """Where ` USING method` begins, outside of quotes."""
    quoted = False
    for at, letter in enumerate(text):
        if letter == '"':
            quoted = not quoted
        elif not quoted and letter == " " and text.startswith(" USING ", at):
            return at + 1
    return 0
