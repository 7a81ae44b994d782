"""The schema of the source, without what is people's words or of its own place, kept in the new database until built.

Comments may hold anything; subscriptions and user mappings lead to other servers, with a password. Owners and grants
are those of the source's roles: the new database gets its own.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from actions._action import Job
from actions._restore_place import Place, note_sql
from actions._restore_psql import feed
from actions._restore_source import Source
from fleet.backups import DatabaseSnapshot, Manifest
from fleet.backups.definitions import compress, dump_definitions
from fleet.backups.libpq import client_environment
from fleet.backups.pool import Pool
from fleet.backups.post_data import Entry, Script, SplitError, parse, statements
from fleet.client_tools import find_tool
from fleet.errors import ActionError
from fleet.stores.local import LocalStore

SCHEMA = "custode_refresh"
_LEFT_OUT = frozenset(
    {
        *("COMMENT", "SECURITY LABEL", "ACL", "DEFAULT ACL", "DATABASE", "DATABASE PROPERTIES", "USER MAPPING"),
        *("SUBSCRIPTION", "SUBSCRIPTION TABLE", "PUBLICATION", "PUBLICATION TABLE", "PUBLICATION TABLES IN SCHEMA"),
        *("MATERIALIZED VIEW DATA", "STATISTICS DATA", "SEQUENCE SET", "BLOB", "BLOB METADATA", "BLOBS"),
    }
)
_OWNER = re.compile(r'ALTER\s.*\sOWNER\sTO\s(?:"(?:[^"]|"")+"|[\w$]+);', re.DOTALL)
_QUICK = {"synchronous_commit": "off", "statement_timeout": "0", "lock_timeout": "0"}
_KEEP = f"""
    create schema if not exists {SCHEMA};
    create table if not exists {SCHEMA}.post_data (sql text);
    truncate {SCHEMA}.post_data
"""


async def read_definitions(site: Job, database: str, snapshot: str | None) -> Mapping[str, Script]:
    """What pg_dump tells of a database, before and after its rows: `pre-data` and `post-data`.

    Raises:
        ProcessError: pg_dump fails.
        ActionError: its words are not understood.
    """
    pg_dump = await find_tool("pg_dump", site.client_tools)
    pg_restore = await find_tool("pg_restore", site.client_tools)
    label = f"custode/{site.run_id}/{site.attempt}"
    variables = await client_environment(site.environment, site.secrets, database, application_name=label)
    variables["PGCLIENTENCODING"] = "UTF8"
    with tempfile.TemporaryDirectory(prefix="custode-schema-") as folder:
        found = await dump_definitions(
            pg_dump, pg_restore, variables, Path(folder), snapshot=snapshot, schema_only=True
        )
        try:
            return {name: parse(found.files[name].read_text("utf-8")) for name in ("pre-data", "post-data")}
        except (SplitError, UnicodeDecodeError) as error:
            raise ActionError(f"the schema of {database} is not understood: {error}") from error


def is_owner(statement: str) -> bool:
    """Whether it gives something an owner, and nothing else."""
    return _OWNER.fullmatch(_bare(statement)) is not None


async def load_definitions(place: Place, scripts: Mapping[str, Script]) -> None:
    """Make the tables, and note what is to be built once their rows are there."""
    async with place.job.changes.acquire(place.database) as connection:
        await connection.execute(_KEEP)
        text = _text(scripts["post-data"])
        await connection.execute(f"insert into {SCHEMA}.post_data values ($1)", text)  # noqa: S608 - a constant
    await feed(place, _once(_text(scripts["pre-data"]).encode() + note_sql("definitions")), settings=_QUICK)


@asynccontextmanager
async def noted_definitions(place: Place, snapshot: DatabaseSnapshot) -> AsyncIterator[Source]:
    """Keys, indexes and triggers as they were noted, in the form that restores read them in."""
    async with place.job.changes.acquire(place.database) as connection:
        text = await connection.fetchval(f"select sql from {SCHEMA}.post_data")  # noqa: S608 - a constant
    with tempfile.TemporaryDirectory(prefix="custode-schema-") as name:
        folder = Path(name)
        plain, stored = folder / "post-data.sql", folder / "post-data.zst"
        plain.write_text(text, "utf-8")
        store = LocalStore(LocalStore.Options(path=folder / "store"))
        blob = await Pool(store, "refresh").put_file(stored, compress(plain, stored, 1))
        manifest = Manifest(id="refresh", environment="refresh", started_at=0, finished_at=0, succeeded=True)
        yield Source("refresh", store, manifest, snapshot.model_copy(update={"post_data": blob}))


async def forget_definitions(place: Place) -> None:
    async with place.job.changes.acquire(place.database) as connection:
        await connection.execute(f"drop schema if exists {SCHEMA} cascade")


def _text(script: Script) -> str:
    kept = [entry for entry in script.entries if entry.kind not in _LEFT_OUT]
    return script.preamble + "".join(map(_entry, kept))


def _entry(entry: Entry) -> str:
    settings = "".join(f"{_here(each)}\n" for each in entry.settings)
    head = f"--\n-- Name: {entry.name}; Type: {entry.kind}; Schema: {entry.schema}; Owner: -\n--\n\n"
    try:
        sql = "\n".join(one for one in statements(entry.sql) if not is_owner(one))
    except SplitError as error:
        raise ActionError(f"{entry.label} is not understood: {error}") from error
    return f"{settings}\n{head}{sql}\n\n\n"


def _here(setting: str) -> str:
    """Tablespaces are of a server."""
    return "SET default_tablespace = '';" if setting.startswith("SET default_tablespace ") else setting


def _bare(statement: str) -> str:
    return "\n".join(line for line in statement.splitlines() if not line.startswith("--")).strip()


async def _once(content: bytes) -> AsyncGenerator[bytes, None]:
    yield content
