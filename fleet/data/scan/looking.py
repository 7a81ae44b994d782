"""Looking through the values of a column, many at a time: joined into one text, so that each pattern runs once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_interface
from itertools import compress

from fleet.data.kinds import Kind
from fleet.data.scan.columns import Column, Content
from fleet.data.scan.detectors import DETECTORS, RESERVED, endings, is_at
from fleet.data.scan.findings import Options
from fleet.data.scan.people import APART, BREAK, pieces, words_of
from fleet.data.scan.phones import phone_number
from fleet.data.scan.unpack import packed, plain, rewritten

_DEPTH = 3  # of text packed within packed text
_NEAR = 3  # words, such as "first_name": "Anna", "last_name": "Verdi" has between two
_SHORT = 40  # characters of a value that may be a part of a name, whose other part is in another column
_MOST_TOGETHER = 1 << 18  # characters that are joined
_LEXEME = re.compile(r"'((?:[^']|'')*)'(?::([0-9A-D,]+))?")
_NUMBER = re.compile(r"'(?:\+|[a-z]{2})?[0-9]{2,}'")
# of numbers in a number column: a random one may well pass, a fifth of them does not
_LEAST_SHARE = 0.2


class Look:
    """Counts the values of one column by kind; to be used by one thread at a time.

    Of the values that were taken last, `parts` are the words of people's names in short ones, by number of the value,
    and `named` those that hold a whole name.
    """

    def __init__(self, column: Column, options: Options, known_words: dict[str, bool]) -> None:
        self._column = column
        self._options = options
        self._accepted = options.published.get(column.key, frozenset())
        self._words = known_words
        self._domains = endings((*RESERVED, *options.domains))
        self._test_domains = endings(options.test_domains)
        self._values = 0
        self._counts: Counter[Kind] = Counter()
        self._of_people: Counter[Kind] = Counter()
        self.parts: list[tuple[int, str]] = []
        self.named: set[int] = set()

    def take(self, values: Sequence[str]) -> None:
        """Look through values; "" for NULL."""
        self._values += sum(map(bool, values))
        self.parts = []
        found: set[tuple[Kind, int, bool]] = set()
        match self._column.content:
            case Content.NUMBER:
                found.update(self._numbers(values))
            case Content.NETWORK:
                found.update((Kind.IP, row, False) for row, value in enumerate(values) if value and _is_public(value))
            case Content.SEARCH:
                found.update(self._text(APART.join(map(self._lexemes, values)), _DEPTH))
            case Content.TEXT:
                found.update(self._text(_joined(values), _DEPTH, values))
        self.named = {row for kind, row, _ in found if kind is Kind.NAME}
        known = {(kind, row) for kind, row, of_people in found if of_people}
        self._of_people.update(kind for kind, _ in known)
        others = {(kind, row) for kind, row, _ in found} - known
        self._counts.update(kind for kind, _ in others if kind not in self._accepted)

    @property
    def names_are_public(self) -> bool:
        return Kind.NAME in self._accepted

    def count_name(self) -> None:
        """One more value, of which another column has shown that it is a part of a name."""
        self._counts[Kind.NAME] += 1

    def counts(self) -> dict[Kind, int]:
        """How many values held something of a kind."""
        least = self._values * _LEAST_SHARE if self._column.content is Content.NUMBER else 0
        sure = {kind: count for kind, count in self._counts.items() if count >= least}
        return {kind: sure.get(kind, 0) + self._of_people[kind] for kind in sorted({*sure, *self._of_people})}

    def _lexemes(self, value: str) -> str:
        """Words of a text search vector; as they stood in the text, where that could make a name or a number of them.

        To put all of them in order takes three times as long as all the rest.
        """
        words = value.split("'")[1::2]
        self._learn(set(words))
        known = sum(map(self._words.__getitem__, words))
        return in_order(value) if known > 1 or len(_NUMBER.findall(value)) > 1 else " ".join(words)

    def _text(self, text: str, depth: int, values: Sequence[str] = ()) -> Iterator[tuple[Kind, int, bool]]:
        text = plain(text)
        for each in (text, *rewritten(text)):
            for kind, look in DETECTORS.items():
                row_at = _rows(each)
                for place, value in look(each):
                    if (of_people := self._counts_as(kind, value)) is not None:
                        yield kind, row_at(place), of_people
            if self._options.people:
                for row in self._names(each, values if each.count(APART) == len(values) - 1 else ()):
                    yield Kind.NAME, row, False
        if depth:
            for rows, inside in _within(text):
                for kind, row, of_people in self._text(inside, depth - 1):
                    yield kind, rows[row], of_people

    def _counts_as(self, kind: Kind, value: str) -> bool | None:
        """Whether it is a production user's; None: it is nobody's."""
        if kind is Kind.EMAIL and is_at(value, self._test_domains):
            return None
        if self._options.people.has_value(kind, value):
            return True
        return None if kind is Kind.EMAIL and is_at(value, self._domains) else False

    def _names(self, text: str, values: Sequence[str]) -> Iterator[int]:
        """Values in which two words that are known as of one person stand within a few words of each other.

        Known words of short `values` are noted, for those of the same row that are in another column.
        """
        row = begin = 0
        previous: list[tuple[int, str]] = []
        for piece in pieces(text):
            words = words_of(piece)
            different = set(words)
            self._learn(different)
            known = {word for word in different if self._words[word]}
            if not known and BREAK in different:
                row, previous = row + piece.count(APART), []
            elif known:
                known.add(BREAK)
                for place in compress(range(begin, begin + len(words)), map(known.__contains__, words)):
                    if (word := words[place - begin]) == BREAK:
                        row, previous = row + 1, []
                        continue
                    previous = [(at, before) for at, before in previous if place - at <= _NEAR]
                    if any(self._options.people.are_name(before, word) for _, before in previous):
                        yield row
                    previous.append((place, word))
                    if values and len(values[row]) <= _SHORT:
                        self.parts.append((row, word))
            begin += len(words)

    def _learn(self, words: set[str]) -> None:
        """Find out which words are of somebody's name."""
        for word in words.difference(self._words):
            self._words[word] = self._options.people.has_word(word)

    def _numbers(self, values: Sequence[str]) -> Iterator[tuple[Kind, int, bool]]:
        rows: list[int] = []
        numbers: list[str] = []
        for row, value in enumerate(values):
            digits = value.rstrip("0").rstrip(".") if "." in value else value
            if digits.isascii() and digits.isdigit() and 9 <= len(digits) <= 19:
                rows.append(row)
                numbers.append(digits)
        text = APART.join(numbers)
        for kind, look in DETECTORS.items():
            row_at = _rows(text)
            for place, found in look(text):
                yield kind, rows[row_at(place)], self._options.people.has_value(kind, found)
        for row, digits in zip(rows, numbers, strict=True):
            # as a number, the country's code has lost what stands before it
            abroad = phone_number(f"+{digits}") if len(digits) >= 11 else None
            if abroad is not None and (abroad.startswith("+39") or self._options.people.has_value(Kind.PHONE, abroad)):
                yield Kind.PHONE, row, self._options.people.has_value(Kind.PHONE, abroad)


def _joined(values: Sequence[str]) -> str:
    text = APART.join(values)
    return text if text.count(APART) < len(values) else APART.join([value.replace(APART, " ") for value in values])


def in_order(value: str) -> str:
    """The words of a text search vector as they stood in its text; where there are no places, as they stand."""
    placed = [
        (int(place.rstrip("ABCD")), lexeme)
        for lexeme, places in _LEXEME.findall(value)
        for place in (places or "0").split(",")
    ]
    return " ".join([lexeme for _, lexeme in sorted(placed)]) if placed else value


def _rows(text: str) -> Callable[[int], int]:
    """From a place in joined values to the number of the value; quick where places come in order."""
    known = (0, 0)

    def row_at(place: int) -> int:
        nonlocal known
        begin, row = known if known[0] <= place else (0, 0)
        known = (place, row + text.count(APART, begin, place))
        return known[1]

    return row_at


def _within(text: str) -> Iterator[tuple[list[int], str]]:
    """What is packed in values, many at a time: the number of the value that each is of, and all of them joined."""
    row_at = _rows(text)
    rows: list[int] = []
    parts: list[str] = []
    size = 0
    for place, part in packed(text):
        rows.append(row_at(place))
        parts.append(part.replace(APART, " "))
        size += len(part)
        if size >= _MOST_TOGETHER:
            yield rows, APART.join(parts)
            rows, parts, size = [], [], 0
    if parts:
        yield rows, APART.join(parts)


def _is_public(value: str) -> bool:
    try:
        return ip_interface(value).ip.is_global
    except ValueError:
        return False  # a hardware address
