"""Label matchers, as Prometheus reads them: regular expressions are anchored, a missing label is an empty one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import promql_parser

from rules.errors import QueryError
from rules.labels import NAME, Labels

_LITERAL = re.compile(r"[\w:@/%,;=<>!~'\" -]*(\|[\w:@/%,;=<>!~'\" -]*)*")


# what Python's dialect has and RE2 has not: looking around, atomic and conditional groups, back references
_FOREIGN = re.compile(r"(?<!\\)(?:\\\\)*(?:\(\?(?:[=!#(>]|<[=!]|P=)|\\[1-9])")


def compile_regex(pattern: str) -> re.Pattern[str]:
    """RE2's dialect on Python's `re`, for use with fullmatch. Raises QueryError where they cannot agree.

    `.` matches a newline as in Prometheus 3; \\d, \\w and \\s are ASCII as in RE2.
    """
    if _FOREIGN.search(pattern):
        raise QueryError(f"the regular expression {pattern!r} is not one of RE2")
    try:
        return re.compile(pattern, re.DOTALL | re.ASCII)
    except (re.error, RecursionError, OverflowError) as error:
        raise QueryError(f"the regular expression {pattern!r} is not supported: {error}") from error


def _fits(pattern: str) -> Callable[[str], bool]:
    if _LITERAL.fullmatch(pattern):
        return frozenset(pattern.split("|")).__contains__
    fullmatch = compile_regex(pattern).fullmatch
    return lambda value: fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class Matcher:
    name: str
    operator: str  # = != =~ !~
    value: str
    fits: Callable[[str], bool]


def _matcher(name: str, operator: str, value: str) -> Matcher:
    wanted = value.__eq__ if operator in {"=", "!="} else _fits(value)
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
    def of(cls, selector: promql_parser.VectorSelector) -> Matchers:
        """Raises QueryError for `or` between matchers and for regular expressions that are not supported."""
        if selector.matchers.or_matchers:
            raise QueryError("`or` between label matchers is not supported")
        found = [_matcher(one.name, _OPERATORS[str(one.op)], one.value) for one in selector.matchers.matchers]
        name = selector.name
        for one in found:
            if name is None and one.name == NAME and one.operator == "=":
                name = one.value
        others = tuple(one for one in found if (one.name, one.operator, one.value) != (NAME, "=", name))
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
