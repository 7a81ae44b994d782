"""Copies one large table in chunks: reads those that changed, takes the others from the snapshot before."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict, deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import structlog

from fleet.backups.bulk import Bulk
from fleet.backups.index import TableIndex, encode_index
from fleet.backups.manifest import INDEXES, TableCopy
from fleet.backups.packer import Packer, Placed
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
        kept: dict[int, Placed] = {}
        fresh = before is not None and now - before.read_at < FULL_READ_SECONDS
        if before is not None and trusted and fresh and before.blocks == blocks:
            kept = _unchanged(seen, before)
            if kept and not await self._sample_agrees(kept, seen, blocks):
                self.mismatches += 1
                log.error("backup_shortcut_wrong", table=self.table.quoted)
                kept = {}
            if len(kept) < len(seen) and not self._reads_ranges():
                kept = {}
        self.skipped_bytes = sum(placed.chunk.plain_bytes for placed in kept.values())
        known = _by_digest(before) if before is not None else {}
        placed = await self._read(seen, blocks, known, kept)
        self.read_bytes = sum(one.chunk.plain_bytes for one in placed)
        read_at = before.read_at if kept and before is not None else now
        return await self._store(blocks, read_at, sorted([*kept.values(), *placed], key=lambda one: one.chunk.block))

    async def _look(self, blocks: int) -> list[Seen]:
        visibility = Visibility(blocks)

        async def take(part: bytes) -> None:
            await asyncio.to_thread(visibility.take, part)

        await self.session.first.copy_from_query(self.table.rows_query, output=take, format="binary")
        return await asyncio.to_thread(visibility.finish)

    async def _sample_agrees(self, kept: Mapping[int, Placed], seen: Sequence[Seen], blocks: int) -> bool:
        """Read some of what is taken for unchanged, and compare."""
        if not self._reads_ranges():
            return True
        chosen = self.chance.sample(sorted(kept), min(_SAMPLE, len(kept)))
        others = {piece.block for piece in seen}.difference(chosen)
        read = await self._read(seen, blocks, {one.chunk.digest: one for one in kept.values()}, others)
        return all(one.chunk.digest == kept[one.chunk.block].chunk.digest for one in read)

    def _reads_ranges(self) -> bool:
        return self.session.first.get_server_version().major >= _RANGE_READS

    async def _read(
        self, seen: Sequence[Seen], blocks: int, known: Mapping[str, Placed], skipped: Container[int]
    ) -> list[Placed]:
        """Read the chunks that are not `skipped`, on all readers at once."""
        row_bytes = max(1, self.table.size_bytes // max(1, sum(piece.rows for piece in seen)))
        split = self._reads_ranges()
        runs = deque(_runs(seen, skipped, _RUN_BYTES // row_bytes if split else None))
        shelf = Shelf(self.pool)
        packers = [Packer(known, shelf.put) for _ in self.session.readers]
        try:
            await self._together(packers, runs, blocks, shelf)
            await shelf.drained()
        finally:
            shelf.close()
        return [*shelf.placed, *(placed for packer in packers for placed in packer.placed)]

    async def _together(self, packers: Sequence[Packer], runs: deque[list[Seen]], blocks: int, shelf: Shelf) -> None:
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

    def _work(self, reader: Bulk, packer: Packer, runs: deque[list[Seen]], blocks: int) -> None:
        """In a thread: take runs until there are none."""
        while True:
            try:
                run = runs.popleft()
            except IndexError:
                return packer.flush()
            query = self.table.query
            if self._reads_ranges():
                query += f" where ctid >= '({run[0].block},0)'::tid and ctid < '({run[-1].block + blocks},0)'::tid"
            packer.take(reader.copy_out(query, self.table.format), run)

    async def _store(self, blocks: int, read_at: float, placed: Sequence[Placed]) -> TableCopy:
        keys = list(dict.fromkeys(one.key for one in placed))
        for key in keys:
            if key not in self.pool.used:
                self.pool.used[key] = self.sizes[key]
        numbers = {key: number for number, key in enumerate(keys)}
        chunks = tuple(one.chunk._replace(object=numbers[one.key]) for one in placed)
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
            rows=sum(chunk.rows for chunk in chunks),
            plain_bytes=sum(chunk.plain_bytes for chunk in chunks),
            stored_bytes=sum(chunk.size_bytes for chunk in chunks),
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
    used: defaultdict[int, int] = defaultdict(int)
    for chunk in index.chunks:
        used[chunk.object] += chunk.size_bytes
    good = {
        number
        for number, size in used.items()
        if (key := index.objects[number]) in sizes and key not in condemned and size >= _LEAST_USE * sizes[key]
    }
    return index.model_copy(update={"chunks": tuple(chunk for chunk in index.chunks if chunk.object in good)})


def _blocks(table: LargeTable, before: TableIndex | None) -> int:
    """As before where that still fits, so that chunks stay comparable."""
    if before is not None and table.blocks / 4 <= before.blocks <= table.blocks * 4:
        return before.blocks
    return table.blocks


def _unchanged(seen: Sequence[Seen], before: TableIndex) -> dict[int, Placed]:
    chunks = {chunk.block: chunk for chunk in before.chunks}
    found = {}
    for piece in seen:
        chunk = chunks.get(piece.block)
        if chunk is not None and (chunk.rows, chunk.seen) == (piece.rows, piece.seen):
            found[piece.block] = Placed(before.objects[chunk.object], chunk)
    return found


def _by_digest(index: TableIndex) -> dict[str, Placed]:
    return {chunk.digest: Placed(index.objects[chunk.object], chunk) for chunk in index.chunks}


def _runs(seen: Iterable[Seen], skipped: Container[int], most_rows: int | None) -> Iterator[list[Seen]]:
    """Chunks to read that follow on each other: one range reads them and nothing else. None: all are one run."""
    run: list[Seen] = []
    rows = 0
    for piece in seen:
        skip = piece.block in skipped
        if run and most_rows is not None and (skip or rows >= most_rows):
            yield run
            run, rows = [], 0
        if not skip:
            run.append(piece)
            rows += piece.rows
    if run:
        yield run
