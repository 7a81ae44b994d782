"""The format of Printf, cut into texts and directives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

STAR = -1  # a width or precision that is an operand
MISSING = -2  # an argument index that is no number
_LARGEST = 1_000_000  # a width or precision above it makes Go give up on the rest of the format


@dataclass(frozen=True, slots=True)
class Directive:
    """%[first][width].[second][precision][third]verb; indices count from 0, no verb is a format that ends early."""

    verb: str
    flags: str = ""
    first: int | None = None
    width: int | None = None
    second: int | None = None
    precision: int | None = None
    third: int | None = None
    misplaced: bool = False  # an index directly before a width or precision

    @property
    def minus(self) -> bool:
        return "-" in self.flags

    @property
    def zero(self) -> bool:
        return "0" in self.flags

    @property
    def plus(self) -> bool:
        return "+" in self.flags

    @property
    def space(self) -> bool:
        return " " in self.flags

    @property
    def sharp(self) -> bool:
        return "#" in self.flags

    def to_the_left(self) -> Directive:
        return replace(self, flags=self.flags + "-")


class _Scanner:
    def __init__(self, form: str, place: int) -> None:
        self._form = form
        self.place = place

    def _take(self, marks: str) -> str:
        start = self.place
        while self.place < len(self._form) and self._form[self.place] in marks:
            self.place += 1
        return self._form[start : self.place]

    def _number(self) -> int | None:
        digits = self._take("0123456789")
        if len(digits.lstrip("0")) > 7 or int(digits or 0) > 10 * _LARGEST + 9:
            self.place = len(self._form)
            return None
        return int(digits) if digits else None

    def _size(self) -> int | None:
        if self._form[self.place : self.place + 1] == "*":
            self.place += 1
            return STAR
        return self._number()

    def _index(self) -> int | None:
        form, start = self._form, self.place
        if form[start : start + 1] != "[":
            return None
        end = form.find("]", start)
        if end < 0 or len(form) - start < 3:
            self.place += 1
            return MISSING
        self.place = end + 1
        digits = form[start + 1 : end]
        return int(digits) - 1 if digits.isascii() and digits.isdigit() and len(digits) < 8 else MISSING

    def directive(self) -> Directive:
        flags = self._take("-+# 0")
        first = self._index()
        width = self._size()
        open_index = first not in {None, MISSING} and width != STAR
        misplaced = open_index and width is not None
        second = precision = third = None
        if self._form[self.place : self.place + 1] == "." and self.place + 1 < len(self._form):
            self.place += 1
            misplaced |= open_index
            second = self._index()
            precision = self._size()
            open_index = second not in {None, MISSING} and precision != STAR
            precision = 0 if precision is None else precision
        if not open_index:
            third = self._index()
        verb = self._form[self.place : self.place + 1]
        self.place += 1
        return Directive(verb, flags, first, width, second, precision, third, misplaced)


@lru_cache(maxsize=1024)
def directives(form: str) -> tuple[str | Directive, ...]:
    """The parts of a format in order. Go's rules, including those for what is malformed."""
    parts: list[str | Directive] = []
    place = 0
    while place < len(form):
        start = form.find("%", place)
        start = len(form) if start < 0 else start
        if start > place:
            parts.append(form[place:start])
        if start == len(form):
            break
        scanner = _Scanner(form, start + 1)
        parts.append(scanner.directive())
        place = scanner.place
    return tuple(parts)
