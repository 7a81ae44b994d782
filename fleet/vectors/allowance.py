"""What a probe may cost a server: it must not push out of memory what others work with, nor take for ever."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fleet.connections import Connection
from fleet.vectors.catalogue import VectorIndex

# what this transaction had to fetch from outside of shared_buffers, for the index, its table and what that has apart
_READ = """
    select (sum(pg_stat_get_xact_blocks_fetched(o.oid) - pg_stat_get_xact_blocks_hit(o.oid))
        * current_setting('block_size')::int)::float8
    from pg_catalog.pg_class t
        left join pg_catalog.pg_index x on x.indrelid = t.reltoastrelid
        cross join lateral unnest(array[$1::oid, t.oid, t.reltoastrelid, x.indexrelid]) o (oid)
    where t.oid = $2
"""
# a table of more than a quarter of shared_buffers is read through a ring of few of them; what is kept apart never is
# (PostgreSQL's src/backend/storage/buffer/README, "Buffer Ring Replacement Strategy")
_FULL_READ = """
    select case when heap.size <= shared.size / 4 then heap.size else 0 end + pg_table_size(t.oid) - heap.size,
        shared.size, current_setting('track_counts')::bool
    from pg_catalog.pg_class t
        cross join lateral (select pg_relation_size(t.oid)) heap (size)
        cross join (select pg_size_bytes(current_setting('shared_buffers'))) shared (size)
    where t.oid = $1
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """In bytes: what a pass over the whole table puts into shared_buffers, and how large those are.

    `counted`: the server counts what it reads, so that searches can be stopped in time.
    """

    pass_bytes: float
    shared_bytes: float
    counted: bool

    def searches_may_read(self, share: float | None, index: VectorIndex) -> float | None:
        """So many bytes, where they may fill `share` of shared_buffers; None: any, 0: none at all.

        Where the server does not count, only what is small enough as a whole may be searched.
        """
        if share is None:
            return None
        most = share * self.shared_bytes
        return most if self.counted or index.size_bytes + index.table_bytes <= most else 0.0

    def pass_fits(self, share: float | None) -> bool:
        """Whether a pass over the whole table fills no more than that."""
        return share is None or self.pass_bytes <= share * self.shared_bytes


async def cost_of(connection: Connection, index: VectorIndex) -> Cost | None:
    """None where the table is gone."""
    row = await connection.fetchrow(_FULL_READ, index.table_oid)
    return None if row is None else Cost(float(row[0]), float(row[1]), row[2])


@dataclass(slots=True)
class Allowance:
    """For searches in one transaction: `most_bytes` read into shared_buffers (None: any), and `seconds` from now on."""

    index: VectorIndex
    most_bytes: float | None
    seconds: float
    begun: float = 0.0
    read_bytes: float = 0.0

    def __post_init__(self) -> None:
        self.begun = time.monotonic()

    async def spent(self, connection: Connection) -> bool:
        """Whether it is used up."""
        if self.most_bytes is not None:
            self.read_bytes = await connection.fetchval(_READ, self.index.oid, self.index.table_oid) or 0.0
            if self.read_bytes >= self.most_bytes:
                return True
        return time.monotonic() - self.begun >= self.seconds
