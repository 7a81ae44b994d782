"""Copies one large table in chunks: reads those that changed, takes the others from the snapshot before."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import structlog

from fleet.backups.bulk import Bulk
from fleet.backups.chunks import Chunks, Known, Placed
from fleet.backups.index import TableIndex, encode_index
from fleet.backups.manifest import INDEXES, TableCopy
from fleet.backups.packer import Packer
from fleet.backups.pool import Pool
from fleet.backups.session import Session
from fleet.backups.shelf import Shelf
from fleet.backups.tables import LargeTable
from fleet.backups.visibility import Seen, Visibility

log = structlog.get_logger()

FULL_READ_SECONDS = 86400.0  # at least so often all rows are read, whatever is taken for unchanged
_LEAST_USE = 0.5  # of an object: where less of it is still needed, its chunks are stored anew, and it can go
_RUN_BYTES = 16 << 20
_SAMPLE = 8
_TELL_SECONDS = 0.5
_RANGE_READS = 14  # the server's version since when rows can be read by a range of ctid
_READ = -1  # in place of a chunk that is known to be unchanged: its rows must be read

Places = npt.NDArray[np.intp]  # among the chunks of the earlier copy, for each piece that is seen


@dataclass(slots=True)
class TableCopier:
    """`mismatches` counts chunks that were taken for unchanged and were not: none is expected, ever."""

    table: LargeTable
    session: Session
    pool: Pool
    sizes: Mapping[str, int]  # of the objects that hold the earlier copy, in bytes
    chance: random.Random
    tell: Callable[[int], None]
    read_bytes: int = 0
    skipped_bytes: int = 0
    mismatches: int = 0

    async def copy(self, before: TableIndex | None, *, trusted: bool, now: float) -> TableCopy:
        """Copy the table; `before` is what may be used of an earlier copy, `trusted` whether what it saw tells changes.

        Raises:
            StoreError, ActionError, asyncpg.PostgresError: nothing of the table is on record then.
        """
        blocks = _blocks(self.table, before)
        seen = await self._look(blocks)
        there = Placed((), Chunks.of(())) if before is None else Placed(before.objects, before.chunks)
        known = await asyncio.to_thread(Known, there)
        kept = np.full(len(seen), _READ)
        fresh = before is not None and now - before.read_at < FULL_READ_SECONDS
        if before is not None and trusted and fresh and before.blocks == blocks:
            kept = _unchanged(seen, before.chunks)
            if not await self._sample_agrees(kept, seen, blocks, there, known):
                self.mismatches += 1
                log.error("backup_shortcut_wrong", table=self.table.quoted)
                kept[:] = _READ
            if (kept == _READ).any() and not self._reads_ranges():
                kept[:] = _READ
        old = Placed(there.keys, Chunks(there.chunks.array[kept[kept != _READ]]))
        self.skipped_bytes = old.chunks.plain_bytes
        placed = await self._read(seen, blocks, known, kept == _READ)
        self.read_bytes = placed.chunks.plain_bytes
        read_at = before.read_at if len(old.chunks) and before is not None else now
        return await self._store(blocks, read_at, await asyncio.to_thread(old.plus, placed))

    async def _look(self, blocks: int) -> Seen:
        visibility = Visibility(blocks)

        async def take(part: bytes) -> None:
            await asyncio.to_thread(visibility.take, part)

        await self.session.first.copy_from_query(self.table.rows_query, output=take, format="binary")
        return await asyncio.to_thread(visibility.finish)

    async def _sample_agrees(self, kept: Places, seen: Seen, blocks: int, there: Placed, known: Known) -> bool:
        """Read some of what is taken for unchanged, and compare."""
        unchanged = np.flatnonzero(kept != _READ)
        if not len(unchanged) or not self._reads_ranges():
            return True
        wanted = np.zeros(len(seen), bool)
        wanted[unchanged[self.chance.sample(range(len(unchanged)), min(_SAMPLE, len(unchanged)))]] = True
        read = await self._read(seen, blocks, known, wanted)
        found, expected = read.chunks.array, there.chunks.array[kept[wanted]]
        return np.array_equal(found["digest"][np.argsort(found["block"])], expected["digest"])

    def _reads_ranges(self) -> bool:
        return self.session.first.get_server_version().major >= _RANGE_READS

    async def _read(self, seen: Seen, blocks: int, known: Known, wanted: npt.NDArray[np.bool_]) -> Placed:
        """Read the chunks that are `wanted`, on all readers at once."""
        row_bytes = max(1, self.table.size_bytes // max(1, int(seen["rows"].sum(dtype=np.uint64))))
        runs = deque(_runs(seen, wanted, _RUN_BYTES // row_bytes if self._reads_ranges() else None))
        shelf = Shelf(self.pool)
        packers = [Packer(known, shelf.put, shelf.ledger.add) for _ in self.session.readers]
        try:
            await self._together(packers, runs, blocks, shelf)
            await shelf.drained()
        finally:
            shelf.close()
        return shelf.ledger.placed()

    async def _together(self, packers: Sequence[Packer], runs: deque[Seen], blocks: int, shelf: Shelf) -> None:
        # threads of our own: they wait for packs to be stored, which takes a thread of those that all share
        executor = ThreadPoolExecutor(len(packers), "custode-copy")
        threads = [
            asyncio.get_running_loop().run_in_executor(executor, self._work, reader, packer, runs, blocks)
            for reader, packer in zip(self.session.readers, packers, strict=True)
        ]
        waiting = set(threads)
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, timeout=_TELL_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
                for thread in done:
                    thread.result()
                self.tell(self.skipped_bytes + sum(packer.plain_bytes for packer in packers))
        except BaseException:
            runs.clear()
            shelf.close()
            for reader in self.session.readers:
                reader.interrupt()
            await _ended(threads)
            raise
        finally:
            executor.shutdown(wait=False)

    def _work(self, reader: Bulk, packer: Packer, runs: deque[Seen], blocks: int) -> None:
        """In a thread: take runs until there are none."""
        while True:
            try:
                run = runs.popleft()
            except IndexError:
                return packer.flush()
            query = self.table.query
            if self._reads_ranges():
                first, last = int(run["block"][0]), int(run["block"][-1])
                query += f" where ctid >= '({first},0)'::tid and ctid < '({last + blocks},0)'::tid"
            packer.take(reader.copy_out(query, self.table.format), run)

    async def _store(self, blocks: int, read_at: float, placed: Placed) -> TableCopy:
        keys, chunks = placed
        for key in keys:
            if key not in self.pool.used:
                self.pool.used[key] = self.sizes[key]
        index = TableIndex(
            format=self.table.format,
            columns=self.table.columns,
            signature=self.table.signature or "",
            filenode=self.table.filenode,
            blocks=blocks,
            read_at=read_at,
            objects=tuple(keys),
            chunks=chunks,
        )
        encoded = await asyncio.to_thread(encode_index, index)
        return TableCopy(
            schema_name=self.table.schema_name,
            name=self.table.name,
            rows=chunks.rows,
            plain_bytes=chunks.plain_bytes,
            stored_bytes=chunks.size_bytes,
            chunks=await self.pool.put(encoded, len(encoded), INDEXES),
        )


async def _ended(threads: Iterable[asyncio.Future[None]]) -> None:
    """Wait for threads that use connections of ours, whatever is asked of us meanwhile."""
    waiting = set(threads)
    while waiting:
        with suppress(asyncio.CancelledError):  # whoever waits for us is told by the error that is under way
            done, waiting = await asyncio.wait(waiting)
            for thread in done:
                thread.exception()  # the first error is told; the others follow from it


def worth_keeping(index: TableIndex, sizes: Mapping[str, int], condemned: frozenset[str]) -> TableIndex:
    """The index without chunks in objects that are gone, condemned, or mostly no longer needed."""
    array = index.chunks.array
    used = np.bincount(array["object"], array["size_bytes"], len(index.objects))
    good = [
        key in sizes and key not in condemned and size >= _LEAST_USE * sizes[key]
        for key, size in zip(index.objects, used.tolist(), strict=True)
    ]
    if all(good):
        return index
    return index.model_copy(update={"chunks": Chunks(array[np.array(good, bool)[array["object"]]])})


def _blocks(table: LargeTable, before: TableIndex | None) -> int:
    """As before where that still fits, so that chunks stay comparable."""
    if before is not None and table.blocks / 4 <= before.blocks <= table.blocks * 4:
        return before.blocks
    return table.blocks


def _unchanged(seen: Seen, before: Chunks) -> Places:
    """For each piece the place of its chunk in an earlier copy; _READ where it has none that saw the same."""
    chunks = before.array
    if not len(chunks):
        return np.full(len(seen), _READ)
    places = np.minimum(np.searchsorted(chunks["block"], seen["block"]), len(chunks) - 1)
    same = [chunks[name][places] == seen[name] for name in ("block", "rows", "seen")]
    return np.where(np.logical_and.reduce(same), places, _READ)


def _runs(seen: Seen, wanted: npt.NDArray[np.bool_], most_rows: int | None) -> list[Seen]:
    """What is wanted, in parts that follow on each other: one range reads them and nothing else. None: all at once."""
    chosen = np.flatnonzero(wanted)
    if not len(chosen):
        return []
    if most_rows is None:
        return [seen[chosen]]
    rows = np.cumsum(seen["rows"][chosen], dtype=np.int64)
    cuts = (np.diff(chosen) > 1) | (np.diff(rows // max(1, most_rows)) > 0)
    parts = np.split(chosen, np.flatnonzero(cuts) + 1)
    return [seen[part[0] : part[-1] + 1] for part in parts]
