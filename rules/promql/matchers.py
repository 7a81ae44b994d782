"""Label matchers, as Prometheus reads them: regular expressions are anchored, a missing label is an empty one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import promql_parser
import re2

from rules.errors import QueryError
from rules.labels import NAME, Labels
from rules.promql.parse import Parsed, shortened

_LITERAL = re.compile(r"[\w:@/%,;=<>!~'\" -]*(\|[\w:@/%,;=<>!~'\" -]*)*")
_QUIET = re2.Options()
_QUIET.log_errors = False
_LINES = re2.Options()  # "." matches a newline too, as in Prometheus 3
_LINES.log_errors, _LINES.dot_nl = False, True


@lru_cache(maxsize=4096)
def compile_regex(pattern: str, *, compat: int = 3) -> re2.Pattern[str]:
    """The regular expression in RE2, the dialect of Prometheus, whose time is linear. Raises QueryError."""
    try:
        return re2.compile(pattern, _LINES if compat >= 3 else _QUIET)
    except (re2.error, UnicodeEncodeError) as error:
        said = error.args[0] if error.args else ""
        reason = shortened(said.decode("utf-8", "replace") if isinstance(said, bytes) else str(error))
        raise QueryError(f"the regular expression {shortened(pattern)!r} is not one of RE2: {reason}") from error


def _fits(pattern: str, compat: int) -> Callable[[str], bool]:
    if _LITERAL.fullmatch(pattern):
        return frozenset(pattern.split("|")).__contains__
    fullmatch = compile_regex(pattern, compat=compat).fullmatch

    @lru_cache(maxsize=10_000)  # a label has far fewer values than series have labels
    def fits(value: str) -> bool:
        return fullmatch(value) is not None

    return fits


@dataclass(frozen=True, slots=True)
class Matcher:
    name: str
    operator: str  # = != =~ !~
    value: str
    fits: Callable[[str], bool]


def _matcher(name: str, operator: str, value: str, compat: int) -> Matcher:
    wanted = value.__eq__ if operator in {"=", "!="} else _fits(value, compat)
    fits = wanted if operator in {"=", "=~"} else lambda text: not wanted(text)
    return Matcher(name, operator, value, fits)


_OPERATORS = {
    "MatchOp.Equal": "=",
    "MatchOp.NotEqual": "!=",
    "MatchOp.Re": "=~",
    "MatchOp.NotRe": "!~",
}


@dataclass(frozen=True, slots=True)
class Matchers:
    """What a selector asks for: the metric's name where it is fixed, and matchers for the other labels."""

    name: str | None
    others: tuple[Matcher, ...]

    @classmethod
    def of(cls, selector: promql_parser.VectorSelector, parsed: Parsed, compat: int = 3) -> Matchers:
        """Raises QueryError for malformed regular expressions, and for a selector that asks for nothing."""
        if selector.matchers.or_matchers:
            raise QueryError("`or` between label matchers is not one of Prometheus")
        found = [
            _matcher(one.name, _OPERATORS[str(one.op)], parsed.pattern(one.value), compat)
            for one in selector.matchers.matchers
        ]
        if not selector.name and all(one.fits("") for one in found):
            raise QueryError("vector selector must contain at least one non-empty matcher")
        name = selector.name
        for one in found:
            if name is None and one.name == NAME and one.operator == "=":
                name = one.value
        others = tuple([one for one in found if (one.name, one.operator, one.value) != (NAME, "=", name)])
        return cls(name, others)

    def match(self, labels: Labels) -> bool:
        """Whether labels of a metric with the right name are asked for."""
        return all(one.fits(labels.value(one.name)) for one in self.others)

    def match_name(self, name: str) -> bool:
        return all(one.fits(name) for one in self.others if one.name == NAME)

    def equalities(self) -> Labels:
        """What `absent` can say about series that are not there: labels with one `=` matcher and no other."""
        names = [one.name for one in self.others]
        return Labels(
            {one.name: one.value for one in self.others if one.operator == "=" and names.count(one.name) == 1}
        )
