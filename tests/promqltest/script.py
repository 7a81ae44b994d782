"""A test script: its commands, read from text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.promqltest.notation import duration, number, unquote
from tests.promqltest.series import Mark, Pairs, Series, Value, metric, series


class ScriptError(Exception):
    """The script is not in the test language; says the line."""


@dataclass(frozen=True, slots=True)
class Clear:
    line: int


@dataclass(frozen=True, slots=True)
class Load:
    """Series with a value every `step` seconds from time 0; `nhcb`: native histograms are made of classic ones too."""

    line: int
    step: float
    series: tuple[Series, ...]
    nhcb: bool


@dataclass(frozen=True, slots=True)
class Expectation:
    """An `expect` line of kind fail, warn, no_warn, info, no_info or ordered.

    The message exactly, or a pattern found in it, or (both None) any message.
    """

    kind: str
    message: str | None = None
    pattern: re.Pattern[str] | None = None


@dataclass(slots=True)
class Eval:
    """A query at `end`, or (`is_range`) from `start` to `end` every `step` seconds, and what must come out.

    `expected` keeps the order of the script. `start` and `step` of an instant query are those of an
    expected range vector (`is_matrix`).
    """

    line: int
    expr: str
    start: float
    end: float
    step: float = 0.0
    is_range: bool = False
    is_matrix: bool = False
    expected: dict[Pairs, tuple[Value, ...]] = field(default_factory=dict)
    scalar: float | None = None
    string: str | None = None
    expectations: list[Expectation] = field(default_factory=list)

    def expects(self, kind: str) -> list[Expectation]:
        return [expectation for expectation in self.expectations if expectation.kind == kind]

    @property
    def native(self) -> bool:
        return any(Mark.NATIVE in values for values in self.expected.values())


Command = Clear | Load | Eval

_LOAD = re.compile(r"load(_with_nhcb)?\s+(\S.*)", re.IGNORECASE)
_INSTANT = re.compile(r"eval(?:_(fail|warn|ordered|info))?\s+instant\s+(?:at\s+(.+?))?\s+(.+)", re.IGNORECASE)
_RANGE = re.compile(
    r"eval(?:_(fail|warn|info))?\s+range\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+?)\s+(.+)", re.IGNORECASE
)
_EXPECT = re.compile(r"expect\s+(ordered|fail|warn|no_warn|info|no_info)(?:\s+(regex|msg):(.+))?")
_MATRIX = re.compile(r"expect\s+range\s+vector\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+)")
_FAILURE = re.compile(r"expected_fail_(message|regexp)\s+(.+)")
_STARTS = re.compile(r"\S*@st(?:\s.*)?")


def parse(text: str) -> list[Command]:
    """The commands of a script, in order. Raises ScriptError."""
    lines = [line.strip() for line in text.split("\n")]
    reading = _Lines([("" if line.startswith("#") else line) for line in lines])
    return [_command(reading, line) for line in reading.commands()]


class _Lines:
    """The lines of a script; a command takes the lines below it up to an empty one (a comment is empty)."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self.number = 0

    def commands(self) -> Iterator[str]:
        while self.number < len(self._lines):
            self.number += 1
            if line := self._lines[self.number - 1]:
                yield line

    def below(self) -> Iterator[str]:
        while self.number < len(self._lines) and self._lines[self.number]:
            self.number += 1
            yield self._lines[self.number - 1]


def _command(lines: _Lines, text: str) -> Command:
    word = text.split(maxsplit=1)[0].lower()
    try:
        if word == "clear":
            return Clear(lines.number)
        if word.startswith("load"):
            return _load(lines, text)
        if word.startswith("eval"):
            return _eval(lines, text)
    except ValueError as error:
        raise ScriptError(f"line {lines.number}: {error}") from error
    raise ScriptError(f"line {lines.number}: unknown command {text!r}")


def _load(lines: _Lines, text: str) -> Load:
    match = _LOAD.fullmatch(text)
    if match is None:
        raise ValueError("expected: load[_with_nhcb] <step>")
    line, step, loaded = lines.number, duration(match[2]), dict[Pairs, Series]()
    all_started, started = False, None
    for below in lines.below():
        if _STARTS.fullmatch(below):
            if below.startswith("@st"):
                all_started = True
            else:
                started = metric(below)[0]
            continue
        read = series(below)
        # a series given twice in one load counts as given the last time
        loaded[read.labels] = Series(read.labels, read.values, all_started or started == read.labels)
        started = None
    return Load(line, step, tuple(loaded.values()), match[1] is not None)


def _eval(lines: _Lines, text: str) -> Eval:
    if match := _INSTANT.fullmatch(text):
        at = duration(match[2] or "0")
        read = Eval(lines.number, match[3], at, at)
    elif match := _RANGE.fullmatch(text):
        start, end, step = (duration(match[index]) for index in (2, 3, 4))
        if end < start:
            raise ValueError("the range ends before it starts")
        read = Eval(lines.number, match[5], start, end, step, is_range=True)
    else:
        raise ValueError("expected: eval instant [at <time>] <query>, or eval range from <time> to <time> step <step>")
    if match[1]:
        read.expectations.append(Expectation(match[1].lower()))
    for below in lines.below():
        if not _expect(read, below):
            break
    _check(read)
    return read


def _expect(read: Eval, text: str) -> bool:
    """Takes one line below an eval; False where no more may follow."""
    if (match := _FAILURE.fullmatch(text)) and read.expects("fail"):
        read.expectations = [kept for kept in read.expectations if kept.kind != "fail"]
        read.expectations.append(_expectation("fail", "regex" if match[1] == "regexp" else "msg", match[2]))
        return False
    if text.startswith("expect range vector"):
        if (match := _MATRIX.fullmatch(text)) is None:
            raise ValueError("expected: expect range vector from <time> to <time> step <step>")
        read.start, read.end, read.step = (duration(match[index]) for index in (1, 2, 3))
        read.is_matrix = True
        return True
    if text.startswith("expect string"):
        read.string = unquote(text.removeprefix("expect string").strip())
        return True
    if text.split(maxsplit=1)[0] == "expect":
        if (match := _EXPECT.fullmatch(text)) is None:
            raise ValueError(f"unknown expectation {text!r}")
        read.expectations.append(_expectation(match[1], match[2], match[3]))
        return True
    try:
        read.scalar = number(text)
    except ValueError:
        _expect_series(read, text)
        return True
    return False


def _expect_series(read: Eval, text: str) -> None:
    expected = series(text)
    if len(expected.values) > 1 and not read.is_range and not read.is_matrix:
        raise ValueError("an instant query yields one value a series; say `expect range vector` for more")
    read.expected[expected.labels] = expected.values


def _expectation(kind: str, how: str | None, text: str | None) -> Expectation:
    if how is None or text is None:
        return Expectation(kind)
    if how == "msg":
        return Expectation(kind, message=text.strip())
    try:
        return Expectation(kind, pattern=re.compile(text.strip()))
    except re.error as error:
        raise ValueError(f"the pattern {text.strip()!r}: {error}") from error


def _check(read: Eval) -> None:
    for one, other in (("info", "no_info"), ("warn", "no_warn")):
        if read.expects(one) and read.expects(other):
            raise ValueError(f"{one} and {other} cannot be expected together")
    if len(read.expects("fail")) > 1:
        raise ValueError("only one failure can be expected")
