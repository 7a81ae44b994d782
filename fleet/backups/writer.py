"""Takes a snapshot of one database into the pool of a store."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from fleet.backups.definitions import Definitions, compress, dump_definitions
from fleet.backups.facts import DatabaseFacts, read_facts
from fleet.backups.index import TableIndex, decode_index
from fleet.backups.libpq import client_environment, connection_parameters
from fleet.backups.manifest import Blob, DatabaseSnapshot, TableCopy
from fleet.backups.pool import Pool
from fleet.backups.session import Session, open_session
from fleet.backups.table_copy import TableCopier, worth_keeping
from fleet.backups.tables import LARGE_BYTES, LargeTable, large_tables
from fleet.client_tools import Tool
from fleet.connections import Connections
from fleet.environment import Environment
from fleet.errors import StoreError
from fleet.secrets import Secrets
from fleet.workspace import sweep, workspace

log = structlog.get_logger()

LEVEL = 1
MOST_READERS = 2
_WORKSPACE = "custode-backup-"
_XIDS = 1 << 31  # half of all there are: none is used twice between two backups that are less apart

Tell = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Parent:
    """What an earlier snapshot of the database left: its indexes are read as they are needed.

    `sizes` are of its objects (bytes by key); objects in `condemned` are about to be removed, and must not be used.
    """

    id: str
    snapshot: DatabaseSnapshot
    sizes: Mapping[str, int]
    condemned: frozenset[str] = frozenset()


@dataclass(slots=True)
class SnapshotWriter:
    """One database, once. `skipped_bytes` were known to be unchanged and not read; `read_bytes` were."""

    environment: Environment
    connections: Connections
    secrets: Secrets
    pool: Pool
    pg_dump: Tool
    pg_restore: Tool
    parent: Parent | None
    now: Callable[[], float]
    progress: Tell
    application_name: str = "custode"
    least_bytes: int = LARGE_BYTES  # smaller tables are left to pg_dump
    chance: random.Random = field(default_factory=random.Random)
    read_bytes: int = 0
    skipped_bytes: int = 0
    mismatches: int = 0

    async def write(self, database: str) -> DatabaseSnapshot:
        """Copy the database as one snapshot sees it; all objects are stored when this returns.

        Raises:
            ConnectError, ProcessError, StoreError: the server, pg_dump or the store failed.
            ActionError: a table was rewritten as we began; the next try may go well.
            asyncpg.PostgresError: a table may not be read whole (rights, row-level security).
        """
        readers = max(1, min(MOST_READERS, self.environment.connections - 1))
        async with AsyncExitStack() as held:
            await asyncio.to_thread(sweep, _WORKSPACE)
            folder = held.enter_context(workspace(_WORKSPACE))
            variables = await client_environment(
                self.environment, self.secrets, database, application_name=self.application_name
            )
            parameters = connection_parameters(variables)
            session = await held.enter_async_context(open_session(self.connections, database, parameters, readers))
            facts = await read_facts(session.first, self.environment)
            tables = await large_tables(session.first, self.least_bytes)
            await session.lock(tables)
            try:
                async with asyncio.TaskGroup() as group:
                    sql = group.create_task(self._definitions(variables, session, tables, folder))
                    copies = group.create_task(self._copy_all(session, facts, tables))
            except BaseExceptionGroup as errors:  # the first is why; the other was cancelled for it
                raise errors.exceptions[0] from errors
        definitions, blobs = sql.result()
        return _snapshot(database, facts, definitions, blobs, tuple(copies.result()))

    async def _definitions(
        self, variables: Mapping[str, str], session: Session, tables: list[LargeTable], folder: Path
    ) -> tuple[str, dict[str, Blob]]:
        definitions = await dump_definitions(
            self.pg_dump, self.pg_restore, variables, folder, snapshot=session.snapshot, excluded=tables
        )
        blobs = {section: await self._store_sql(path) for section, path in definitions.files.items()}
        return await asyncio.to_thread(Definitions.fingerprint, definitions), blobs

    async def _store_sql(self, path: Path) -> Blob:
        stored = path.with_suffix(".zst")
        plain_bytes = await asyncio.to_thread(compress, path, stored, LEVEL)
        return await self.pool.put_file(stored, plain_bytes)

    async def _copy_all(self, session: Session, facts: DatabaseFacts, tables: list[LargeTable]) -> list[TableCopy]:
        copies: list[TableCopy] = []
        for table in tables:  # one after the other, each by all readers: what is under way stays small
            index = await self._known_index(table)
            trusted = index is not None and self._may_trust(index, facts, table)
            sizes = self.parent.sizes if self.parent is not None else {}
            copier = TableCopier(table, session, self.pool, sizes, self.chance, self._told)
            copies.append(await copier.copy(self._kept(index), trusted=trusted, now=self.now()))
            self.read_bytes += copier.read_bytes
            self.skipped_bytes += copier.skipped_bytes
            self.mismatches += copier.mismatches
        return copies

    def _told(self, plain_bytes: int) -> None:
        self.progress(self.read_bytes + self.skipped_bytes + plain_bytes)

    async def _known_index(self, table: LargeTable) -> TableIndex | None:
        if self.parent is None:
            return None
        for copy in self.parent.snapshot.copies:
            if (copy.schema_name, copy.name) == (table.schema_name, table.name):
                try:
                    stored = await self.pool.get(copy.chunks.key)
                    index = await asyncio.to_thread(decode_index, stored)
                except (StoreError, ValueError) as error:
                    log.warning("backup_index_unreadable", table=table.quoted, error=str(error))
                    return None
                return index if index.format == table.format else None
        return None

    def _kept(self, index: TableIndex | None) -> TableIndex | None:
        """Of an index what may still be used: objects that are there, whole, and mostly needed."""
        if index is None or self.parent is None:
            return None
        return worth_keeping(index, self.parent.sizes, self.parent.condemned)

    def _may_trust(self, index: TableIndex, facts: DatabaseFacts, table: LargeTable) -> bool:
        """Whether equal (ctid, xmin) mean equal rows: same server, heap, columns, and no transaction id come round."""
        before = self.parent.snapshot if self.parent is not None else None
        return (
            before is not None
            and facts.identity != ""
            and before.identity == facts.identity
            and table.signature is not None
            and index.signature == table.signature
            and index.filenode == table.filenode
            and 0 <= facts.xid - before.xid < _XIDS
        )


def _snapshot(
    database: str, facts: DatabaseFacts, fingerprint: str, blobs: Mapping[str, Blob], copies: tuple[TableCopy, ...]
) -> DatabaseSnapshot:
    return DatabaseSnapshot(
        name=database,
        owner=facts.owner,
        encoding=facts.encoding,
        collate=facts.collate,
        ctype=facts.ctype,
        extensions=facts.extensions,
        revisions=facts.revisions,
        fingerprint=fingerprint,
        roles=facts.roles,
        identity=facts.identity,
        xid=facts.xid,
        pre_data=blobs["pre-data"],
        data=blobs["data"],
        post_data=blobs["post-data"],
        tables=facts.tables,
        copies=copies,
    )
