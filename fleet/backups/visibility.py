"""Which rows of a table a snapshot sees, by (ctid, xmin): what is unchanged is known without reading it.

A row version at (ctid, xmin) never changes its content: once its transaction has committed, nothing else comes to that
place under that transaction id, as long as the heap is not rewritten and transaction ids have not come round.
The heap alone is read, 20 bytes a row are sent, and no TOASTed value is touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import Struct

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
# the visible rows of a chunk that begins at heap block `block`; `seen` is of their (ctid, xmin)
SEEN = np.dtype([("block", "<u4"), ("rows", "<u4"), ("seen", "S10")])
_SEEN_BYTES = 10
_PACKED = Struct("<2I10s")

Seen = npt.NDArray[np.void]  # of SEEN, in order of the heap


def pieces(seen: Seen) -> Iterator[tuple[int, int, str]]:
    """Block, rows and `seen` (hex) of each chunk."""
    for block, rows, told in _PACKED.iter_unpack(seen.view(np.uint8).data):
        yield block, rows, told.hex()


@dataclass(slots=True)
class Visibility:
    """Takes the stream in parts, in order of the heap; a chunk spans `blocks` heap blocks."""

    blocks: int
    _found: bytearray = field(default_factory=bytearray)
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

    def finish(self) -> Seen:
        """All chunks that hold rows, in order."""
        rows = self._rows()
        if len(rows):
            self._note(rows, self._numbers(rows))
        return np.frombuffer(self._found, SEEN)

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
            seen = hashlib.sha256(content[start * ROW.itemsize : end * ROW.itemsize]).digest()[:_SEEN_BYTES]
            self._found += _PACKED.pack(int(numbers[start]) * self.blocks, end - start, seen)
