"""The scan of one database: every table, then what is not in rows. What could not be looked at is a finding as well."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg

from fleet.connections import Connection
from fleet.data.kinds import Kind
from fleet.data.scan.across import look_across
from fleet.data.scan.columns import Column, Content, Table, read_columns
from fleet.data.scan.definitions import scan_definitions, scan_statistics
from fleet.data.scan.findings import Finding, Options
from fleet.data.scan.looking import Look
from fleet.data.scan.people import People

_BATCH_BYTES = 1 << 18  # what is split or joined at once holds up all other threads; larger is no faster
_STATEMENT = "3h"
_PAGE_ROWS = 20  # of a table that was never analysed, that a page holds at most
_NULL = "\\N"
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_GONE = "select not exists (select from pg_catalog.pg_class where oid = $1)"
_OBJECTS = "select count(*) from pg_catalog.pg_largeobject_metadata"
_OBJECT_DATA = "select pg_catalog.lo_get(oid)::text from pg_catalog.pg_largeobject_metadata"
_LARGE_OBJECTS = Column("pg_catalog", "pg_largeobject", "data", "data", Content.TEXT)


async def scan(connection: Connection, options: Options) -> list[Finding]:
    """Look for personal data in the database that the connection is in; empty: there is none.

    With `options.rows` it has looked at a part of the larger tables only.

    Raises:
        asyncpg.PostgresError, asyncpg.InterfaceError, OSError: the connection is lost, or the catalogue cannot be read.
    """
    words: dict[str, bool] = {}
    tables = await read_columns(connection)
    whole = sum(table.bytes for table in tables) or 1.0
    found: list[Finding] = []
    done = 0.0
    for table in tables:
        options.progress(done / whole, f"{table.schemaname}.{table.relname}")
        found += await _table(connection, options, table, words)
        done += table.bytes
    options.progress(done / whole, "large objects, statistics, definitions")
    found += await _large_objects(connection, options, words)
    found += await _read("statistics", connection, lambda: scan_statistics(connection, options, tables, words))
    found += await _read("definitions", connection, lambda: scan_definitions(connection, options, words))
    options.progress(1.0, "done")
    return found


async def _table(connection: Connection, options: Options, table: Table, words: dict[str, bool]) -> list[Finding]:
    if table.closed is not None:
        return [Finding(table.schemaname, table.relname, "", Kind.UNREAD, 1, reason=table.closed)]
    if not table.columns:
        return []
    chosen = ", ".join(f"{column.quoted}::text" for column in table.columns)
    only = "" if table.materialized else "only "
    query = f"select {chosen} from {only}{table.quoted}{_sample(table, options.rows)}"  # noqa: S608 - quoted by the server
    looks = [Look(column, options, words) for column in table.columns]

    async def read() -> list[Finding]:
        await _copy(connection, query, looks, options.people)
        return [
            Finding(*column.key, kind, count)
            for column, look in zip(table.columns, looks, strict=True)
            for kind, count in look.counts().items()
        ]

    unread = await _read(f"{table.schemaname}.{table.relname}", connection, read)
    dropped_meanwhile = unread and await connection.fetchval(_GONE, table.oid)
    return [] if dropped_meanwhile else unread


def _sample(table: Table, rows: int | None) -> str:
    """Pages at random, enough for `rows` rows; all of a small table."""
    if rows is None:
        return ""
    expected = table.rows if table.rows >= 0 else table.bytes / 8192 * _PAGE_ROWS
    percent = math.ceil(1000 * rows / expected) / 10 if expected else 100.0
    return "" if percent >= 100 else f" tablesample system ({percent})"


async def _large_objects(connection: Connection, options: Options, words: dict[str, bool]) -> list[Finding]:
    look = Look(_LARGE_OBJECTS, options, words)

    async def read() -> list[Finding]:
        if await connection.fetchval(_OBJECTS):
            await _copy(connection, _OBJECT_DATA, [look], options.people)
        return [Finding(*_LARGE_OBJECTS.key, kind, count) for kind, count in look.counts().items()]

    return await _read("pg_catalog.pg_largeobject", connection, read)


async def _read(what: str, connection: Connection, read: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    try:
        async with _reading(connection):
            return await read()
    except asyncpg.PostgresError as error:
        if connection.is_closed():
            raise
        # words of a server may quote a value; its state does not
        return [_unread(what, type(error).__name__)]


def _unread(what: str, reason: str) -> Finding:
    schema, _, name = what.partition(".")
    return Finding(schema if name else "", name or what, "", Kind.UNREAD, 1, reason=f"could not be read: {reason}")


@asynccontextmanager
async def _reading(connection: Connection) -> AsyncIterator[None]:
    """Rows that are hidden from us are an error, not a success."""
    async with connection.transaction(readonly=True):
        await connection.execute(
            f"set local statement_timeout = '{_STATEMENT}'; set local row_security = off;"
            " set local bytea_output = 'hex'; set local datestyle = 'ISO, YMD'"
        )
        yield


async def _copy(connection: Connection, query: str, looks: list[Look], people: People) -> None:
    rest: list[bytes] = []
    size = 0

    async def take(part: bytes) -> None:
        nonlocal rest, size
        size += len(part)
        end = part.rfind(b"\n") if size >= _BATCH_BYTES else -1
        if end < 0:
            rest.append(part)
            return
        whole = b"".join((*rest, part[:end]))
        rest = [part[end + 1 :]]
        size = len(rest[0])
        await asyncio.to_thread(_look, whole, looks, people)

    await connection.copy_from_query(query, output=take, format="text", timeout=None)
    await asyncio.to_thread(_look, b"".join(rest).removesuffix(b"\n"), looks, people)


def _look(rows: bytes, looks: list[Look], people: People) -> None:
    if not rows and len(looks) > 1:
        return
    columns = zip(*(line.split("\t") for line in rows.decode("utf-8", "replace").split("\n")), strict=True)
    for look, values in zip(looks, columns, strict=True):
        look.take([_unescaped(value) if "\\" in value else value for value in values])
    look_across(looks, people)


def _unescaped(value: str) -> str:
    return "" if value == _NULL else _ESCAPED.sub(lambda match: _ESCAPES.get(match[1], match[1]), value)
