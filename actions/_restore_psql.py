"""pg_dump's SQL into a database by psql: as one transaction, through its input, no command of psql obeyed.

The transaction is begun and committed in that input: --single-transaction would commit at its end, wherever that is,
and so what psql had when its daemon was killed, now and then.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from contextlib import aclosing, suppress
from pathlib import Path

from actions._restore_place import Place
from fleet.backups.libpq import client_environment
from fleet.backups.scrub import scrub
from fleet.client_tools import Tool, find_tool
from fleet.errors import ActionError, ProcessError
from fleet.process import check_exit, running

# the minor releases since when psql can be told to obey no command in its input (CVE-2025-8714)
_RESTRICTED = {13: 22, 14: 19, 15: 14, 16: 10, 17: 6}
_SETTING = re.compile(rb"^SET ([a-z_]+) = [^\n]*;$", re.MULTILINE)
_FIRST_ENTRY = re.compile(rb"^-- (?:Data for )?Name: ", re.MULTILINE)
_HEAD_BYTES = 1 << 14
_STDERR_BYTES = 4000


async def feed(place: Place, sql: AsyncGenerator[bytes, None], *, settings: Mapping[str, str]) -> None:
    """Run the SQL as one transaction: all of it or nothing, even where reading it fails in the middle.

    `settings` hold for the session (names and values of ours).

    Raises:
        ActionError: psql failed; its words are without the rows of the table.
        StoreError: the SQL could not be read, or is damaged.
    """
    job = place.job
    psql = await find_tool("psql", job.client_tools)
    known = await known_settings(place)
    label = f"custode/{job.run_id}/{job.attempt}"
    variables = await client_environment(job.environment, job.secrets, place.database, application_name=label)
    asked = " ".join(f"-c {name}={value}" for name, value in settings.items())
    variables["PGOPTIONS"] = f"{variables.get('PGOPTIONS', '')} {asked}".strip()
    command: list[str | Path] = [psql.path, "-X", "-q", "--no-password", *_VARIABLES]
    command += ["-o", "/dev/null", "-f", "-"]
    async with running(command, env=variables, stdin=asyncio.subprocess.PIPE) as process:
        said = asyncio.ensure_future(_tail(process.stderr))
        try:
            async with aclosing(_framed(sql, known, psql)) as framed:
                await _write(process.stdin, framed)
            stderr = await said
        finally:
            said.cancel()
        await process.wait()
        try:
            check_exit(command, process, stderr)
        except ProcessError as error:
            raise ActionError(scrub(f"{place.database}: {error}", [variables.get("PGPASSWORD", "")])) from error


_VARIABLES = ("-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=terse")  # details quote rows


async def known_settings(place: Place) -> frozenset[bytes]:
    """The names of the server's settings: pg_dump of a newer version sets what an older server does not have."""
    async with place.job.changes.acquire(place.database) as connection:
        return frozenset(row["name"].encode() for row in await connection.fetch("select name from pg_settings"))


def fit(sql: bytes, known: frozenset[bytes]) -> bytes:
    """The SQL without what sets a setting that is not known, before its first entry."""
    entry = _FIRST_ENTRY.search(sql)
    end = entry.start() if entry is not None else len(sql)
    return _SETTING.sub(lambda match: match[0] if match[1] in known else b"", sql[:end]) + sql[end:]


def obeys_no_commands(psql: Tool) -> bool:
    major, minor = psql.version
    return major >= 18 or minor >= _RESTRICTED.get(major, 1 << 30)


async def _framed(sql: AsyncGenerator[bytes, None], known: frozenset[bytes], psql: Tool) -> AsyncGenerator[bytes, None]:
    key = secrets.token_hex(32).encode()
    if obeys_no_commands(psql):
        yield b"\\restrict " + key + b"\n"
    yield b"BEGIN;\n"
    head: bytes | None = b""
    async with aclosing(sql):
        async for part in sql:
            if head is None:
                yield part
                continue
            head += part
            if len(head) >= _HEAD_BYTES:
                yield fit(head, known)
                head = None
    if head is not None:
        yield fit(head, known)
    yield b"\nCOMMIT;\n"
    if obeys_no_commands(psql):
        yield b"\\unrestrict " + key + b"\n"


async def _write(stdin: asyncio.StreamWriter | None, parts: AsyncIterable[bytes]) -> None:
    """An input that is read no more is told by psql's own words and its status."""
    if stdin is None:
        raise ActionError("the input of psql is not piped")
    with suppress(BrokenPipeError, ConnectionResetError):
        async for part in parts:
            stdin.write(part)
            await stdin.drain()
        stdin.close()
        await stdin.wait_closed()


async def _tail(reader: asyncio.StreamReader | None) -> bytes:
    kept = b""
    while reader is not None and (part := await reader.read(_STDERR_BYTES)):
        kept = (kept + part)[-_STDERR_BYTES:]
    return kept
