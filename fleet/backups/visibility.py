"""Which rows of a table a snapshot sees, by (ctid, xmin): what is unchanged is known without reading it.

A row version at (ctid, xmin) never changes its content: once its transaction has committed, nothing else comes to that
place under that transaction id, as long as the heap is not rewritten and transaction ids have not come round.
The heap alone is read, 20 bytes a row are sent, and no TOASTed value is touched.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fleet.backups.index import BINARY_HEADER

# one row of `COPY (SELECT ctid, xmin ...) TO STDOUT (FORMAT binary)`: 2 fields, of 6 and 4 bytes
ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("ctid_size", ">i4"),
        ("block", ">u4"),
        ("offset", ">u2"),
        ("xmin_size", ">i4"),
        ("xmin", ">u4"),
    ]
)
_HEADER = len(BINARY_HEADER)
_SEEN_BYTES = 10


@dataclass(frozen=True, slots=True)
class Seen:
    """The rows that are visible in the chunk that begins at heap block `block`; `seen` is of their (ctid, xmin)."""

    block: int
    rows: int
    seen: str


@dataclass(slots=True)
class Visibility:
    """Takes the stream in parts, in order of the heap; a chunk spans `blocks` heap blocks."""

    blocks: int
    found: list[Seen] = field(default_factory=list)
    _buffer: bytearray = field(default_factory=bytearray)
    _in_header: bool = True

    def take(self, part: bytes) -> None:
        self._buffer += part
        if self._in_header:
            if len(self._buffer) < _HEADER:
                return
            del self._buffer[:_HEADER]
            self._in_header = False
        rows = self._rows()
        if len(rows) == 0:
            return
        numbers = self._numbers(rows)
        # the last chunk may go on in the next part
        whole = int(np.searchsorted(numbers, numbers[-1], side="left"))
        if whole:
            self._note(rows[:whole], numbers[:whole])
            del rows
            del self._buffer[: whole * ROW.itemsize]

    def finish(self) -> list[Seen]:
        """All chunks that hold rows, in order."""
        rows = self._rows()
        if len(rows):
            self._note(rows, self._numbers(rows))
        return self.found

    def _rows(self) -> npt.NDArray[np.void]:
        # a copy: the buffer must be free to shrink
        whole = len(self._buffer) // ROW.itemsize
        return np.frombuffer(bytes(self._buffer[: whole * ROW.itemsize]), dtype=ROW)

    def _numbers(self, rows: npt.NDArray[np.void]) -> npt.NDArray[np.uint32]:
        return rows["block"].astype(np.uint32) // np.uint32(self.blocks)

    def _note(self, rows: npt.NDArray[np.void], numbers: npt.NDArray[np.uint32]) -> None:
        starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] + np.uint32(1))).tolist()
        content = memoryview(rows.tobytes())
        for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
            seen = hashlib.sha256(content[start * ROW.itemsize : end * ROW.itemsize]).hexdigest()[: 2 * _SEEN_BYTES]
            self.found.append(Seen(int(numbers[start]) * self.blocks, end - start, seen))
