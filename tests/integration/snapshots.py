"""Snapshots of a test's database into a local store, and the rows that they hold."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import zstandard

from fleet.backups import Blob, DatabaseSnapshot, TableCopy
from fleet.backups.index import TableIndex, decode_index
from fleet.backups.pool import Pool
from fleet.backups.reader import read_text
from fleet.backups.writer import Parent, SnapshotWriter
from fleet.client_tools import find_tool
from fleet.connections import Connections
from fleet.environment import Environment
from fleet.secrets import Secrets
from fleet.stores.local import LocalStore


@dataclass(slots=True)
class Snapshots:
    """Takes one snapshot after another, each with the one before as its parent."""

    environment: Environment
    database: str
    store: LocalStore
    connections: Connections
    secrets: Secrets
    clock: float = field(default_factory=time.time)
    parent: Parent | None = None
    condemned: frozenset[str] = frozenset()
    last: SnapshotWriter | None = None

    async def take(self, least_bytes: int = 0) -> DatabaseSnapshot:
        pool = Pool(self.store, self.environment.name, self.condemned)
        self.last = writer = SnapshotWriter(
            self.environment,
            self.connections,
            self.secrets,
            pool,
            await find_tool("pg_dump", None),
            await find_tool("pg_restore", None),
            self.parent,
            lambda: self.clock,
            lambda _bytes: None,
            least_bytes=least_bytes,
            chance=random.Random(1),  # noqa: S311 - which chunks are looked at twice
        )
        snapshot = await writer.write(self.database)
        self.parent = Parent("x", snapshot, dict(pool.used), self.condemned)
        return snapshot

    @property
    def writer(self) -> SnapshotWriter:
        """Of the last snapshot."""
        assert self.last is not None
        return self.last

    @property
    def pool(self) -> Pool:
        return Pool(self.store, self.environment.name)

    async def sql(self, blob: Blob) -> str:
        return b"".join([part async for part in read_text(self.pool, blob)]).decode()

    async def index(self, copy: TableCopy) -> TableIndex:
        return decode_index(await self.pool.get(copy.chunks.key))

    async def rows(self, copy: TableCopy) -> bytes:
        """The table's rows as COPY gives them, in order of the heap; binary without header and trailer."""
        index = await self.index(copy)
        contents = {key: await self.pool.get(key) for key in index.objects}
        return b"".join(
            zstandard.ZstdDecompressor().decompress(
                contents[index.objects[chunk.object]][chunk.offset : chunk.offset + chunk.size_bytes]
            )
            for chunk in index.chunks
        )


@pytest.fixture
async def snapshots(
    make_environment: Callable[..., Environment], database: str, tmp_path: Path
) -> AsyncIterator[Snapshots]:
    environment = make_environment()
    secrets = Secrets(time.monotonic)
    connections = Connections(environment, secrets)
    yield Snapshots(
        environment, database, LocalStore(LocalStore.Options(path=tmp_path / "store")), connections, secrets
    )
    await connections.close()


def copy_of(snapshot: DatabaseSnapshot, name: str) -> TableCopy:
    (found,) = [copy for copy in snapshot.copies if copy.name == name]
    return found
