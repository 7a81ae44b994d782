"""A table's rows as a sum of hashes: equal for the same rows in any order, so that a copy can be compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from struct import Struct
from typing import Literal

from fleet.backups.index import BINARY_HEADER

Format = Literal["binary", "text"]

_FIELDS = Struct(">h").unpack_from
_LENGTH = Struct(">i").unpack_from
_MODULUS = 1 << 128


class RowSum:
    """Takes rows as COPY gives them, in parts of any size. `rows` so far, and the `total` of their hashes."""

    def __init__(self, format_: Format) -> None:
        self.rows = 0
        self._walk = _binary_rows if format_ == "binary" else _text_rows
        self._sum = 0
        self._rest = b""

    @property
    def total(self) -> str:
        return f"{self._sum:032x}"

    def take(self, part: bytes) -> None:
        """The bytes of rows alone, without COPY's header; a trailer ends them."""
        buffer = memoryview(self._rest + part if self._rest else part)
        start = total = count = 0
        for end in self._walk(buffer):
            total += int.from_bytes(hashlib.sha256(buffer[start:end]).digest()[:16])
            start, count = end, count + 1
        self._sum = (self._sum + total) % _MODULUS
        self.rows += count
        self._rest = bytes(buffer[start:])


class StreamSum(RowSum):
    """The same for a whole stream of COPY: its header is left out."""

    def __init__(self, format_: Format) -> None:
        super().__init__(format_)
        self._header = len(BINARY_HEADER) if format_ == "binary" else 0

    def take(self, part: bytes) -> None:
        cut = min(self._header, len(part))
        self._header -= cut
        super().take(part[cut:] if cut else part)


def _binary_rows(buffer: memoryview) -> Iterator[int]:
    """Where each whole row ends."""
    at, end = 0, len(buffer)
    while at + 2 <= end:
        (fields,) = _FIELDS(buffer, at)
        if fields < 0:  # the trailer
            return
        at += 2
        for _ in range(fields):
            if at + 4 > end:
                return
            (length,) = _LENGTH(buffer, at)
            at += 4 + length if length > 0 else 4
        if at > end:
            return
        yield at


def _text_rows(buffer: memoryview) -> Iterator[int]:
    plain = bytes(buffer)  # COPY's text format escapes line breaks within values
    at = 0
    while (at := plain.find(b"\n", at) + 1) > 0:
        yield at
