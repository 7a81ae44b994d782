"""The only door to promql-parser, which reads the text of an expression, and round what it cannot read."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import promql_parser

from rules.errors import QueryError

# promql-parser overflows the stack, which kills the process, on some 3,000 nested nodes; a chain of operators nests.
_MOST = 800
# possessive, and to the end where it is not closed: the time that hostile texts take stays linear
_QUOTED = re.compile(
    r"""(#[^\n]*+|"(?:\\.|[^"\\])*+(?:"|\\?\Z)|'(?:\\.|[^'\\])*+(?:'|\\?\Z)|`[^`]*+(?:`|\Z))""", re.DOTALL
)
_NESTING = re.compile(r"[-+*/%^(\[{]|[=!<>]=?|\b(?:and|or|unless|atan2)\b", re.IGNORECASE)
_LONGEST = 1_000_000  # characters

_AT = re.compile(r"@\s*+([-+]?)\s*+(0[xX][0-9a-fA-F]{1,32}+|(?:\d[\d_]*+\.?\d*+|\.\d++)(?:[eE][-+]?\d++)?)(?![\w.])")
_GROUPED_DIGITS = re.compile(r"(?<![\w:.$])\d+(?:_\d+)+(?:\.\d+)?(?![\w:])")
_WITH_EXPONENT = re.compile(r"(?<![\w.:])(?:\d++(?:\.\d*+)?|\.\d++)[eE]\+?\d{1,9}+(?![\w.])")
_NO_OFFSET = re.compile(r"\boffset\s++[-+]?\s*+0++(?:\.0*+)?(?:ms|[smhdwy])?(?![\w.])", re.IGNORECASE)
_BYTES = re.compile(r"(?<!\\)((?:\\\\)*)((?:\\x[89a-fA-F][0-9a-fA-F])+)")
_HOLT_WINTERS = re.compile(r"\bholt_winters\b(?=\s*\()")
_FIRST_PLACE = 10**9
_PATTERN = "\ue000"  # a character for private use
_SHOWN = 500  # characters
_LAST_TIME = 2**63 / 1000  # seconds; Prometheus counts milliseconds in 64 bits


@dataclass(frozen=True, slots=True)
class Parsed:
    """The syntax tree. Where the parser would read something wrong, it has been given a place in a list here instead.

    That is numbers after `@` (`moments`, unix seconds), and regular expressions, which it takes for Rust's.
    """

    tree: promql_parser.Expr
    moments: tuple[float, ...]
    patterns: tuple[str, ...]

    def pattern(self, text: str) -> str:
        """The regular expression that stands for `text` in the tree."""
        _, placed, place = text.partition(_PATTERN)
        return self.patterns[int(place)] if placed else text

    def moment(self, at: promql_parser.AtModifier) -> float | str:
        """What an `@` modifier says: unix seconds, "start" or "end"."""
        text = str(at).removeprefix("@").strip()
        if text in {"start()", "end()"}:
            return text[:-2]
        place = round(float(text)) - _FIRST_PLACE
        return self.moments[place] if 0 <= place < len(self.moments) else float(text)


def parse(text: str, *, compat: int = 3) -> Parsed:
    """The syntax tree of an expression. Raises QueryError."""
    if len(text) > _LONGEST:
        raise QueryError(f"the expression has {len(text):,} characters, at most {_LONGEST:,} are read")
    operators = len(_NESTING.findall(_QUOTED.sub("''", text)))
    if operators > _MOST:
        raise QueryError(f"the expression has {operators} operators and brackets, at most {_MOST} are read")
    moments: list[float] = []
    patterns: list[str] = []
    try:
        prepared = _rewritten(text, lambda part: _prepared(part, moments, compat), patterns)
        return Parsed(promql_parser.parse(prepared), tuple(moments), tuple(patterns))
    except QueryError:
        raise
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic inside the parser derives from it alone
        raise QueryError(f"could not parse expression: {shortened(str(error))}") from error


def shortened(text: str) -> str:
    """As much of a text of somebody's as an error message may hold."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text):,} characters)"


def _rewritten(text: str, change: Callable[[str], str], patterns: list[str]) -> str:
    parts = _QUOTED.split(text)
    for place, part in enumerate(parts):
        if place % 2 == 0:
            parts[place] = change(part)
        elif part[0] != "#":
            parts[place] = _quoted(part)
            operator = parts[place - 1].rstrip()[-2:]
            if operator in {"=~", "!~"}:
                patterns.append(_unquoted(parts[place]))
                # fit for "" with !~ and not with =~, as the parser refuses selectors of which every matcher fits ""
                parts[place] = f'"{"|" if operator == "!~" else ""}{_PATTERN}{len(patterns) - 1}"'
    return "".join(parts)


def _unquoted(text: str) -> str:
    literal = promql_parser.parse(text)
    return literal.val if isinstance(literal, promql_parser.StringLiteral) else ""


def _quoted(text: str) -> str:
    """A string as the parser reads it right: it takes backslashes in a raw string for escapes."""
    if text[0] != "`" or "\\" not in text:
        return _BYTES.sub(_decoded, text)
    inner = text[1:-1].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{inner}"'


def _decoded(match: re.Match[str]) -> str:
    """Escaped bytes are UTF-8 in Go; the parser takes each for a character."""
    try:
        return match[1] + bytes.fromhex(match[2].replace("\\x", "")).decode()
    except UnicodeDecodeError:
        raise QueryError(f"the escaped bytes {match[2]} are not valid UTF-8") from None


def _prepared(text: str, moments: list[float], compat: int) -> str:
    """What the parser lacks: an end of numbers, digits in groups (1_000), an offset of nothing, times before 1970 after
    `@`, and the name that a function had in Prometheus 2."""
    for number in _WITH_EXPONENT.findall(text):
        if math.isinf(float(number)):
            raise QueryError(f"error parsing number: {shortened(number)} is out of range")
    if compat >= 3:
        text = _NO_OFFSET.sub("", text)
    if "@" in text:
        text = _AT.sub(lambda match: _kept(match, moments), text)
    if "_" in text:
        text = _GROUPED_DIGITS.sub(lambda match: match[0].replace("_", ""), text)
        if compat == 2:
            text = _HOLT_WINTERS.sub("double_exponential_smoothing", text)
    return text


def _kept(match: re.Match[str], moments: list[float]) -> str:
    digits = match[2].replace("_", "")
    number = float(int(digits, 16)) if digits[:2].lower() == "0x" else float(digits)
    number = -number if match[1] == "-" else number
    if abs(number) >= _LAST_TIME:
        raise QueryError(f"timestamp out of bounds for @ modifier: {number:f}")
    moments.append(round(number, 3))
    return f"@ {_FIRST_PLACE + len(moments) - 1}"
