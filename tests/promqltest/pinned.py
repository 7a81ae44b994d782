"""An expression with every selector pinned to one time (`@ T`): it must give the same at any other time."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import promql_parser as parser

# Their result depends on the time of the evaluation though their arguments do not.
_UNPINNED = re.compile(
    r"\b(?:days_in_month|day_of_month|day_of_week|day_of_year|hour|minute|month|year|predict_linear|time|timestamp"
    r"|start|end|range|step)\s*\("
)
# The parser alone loses the sign of a time, and takes a byte that is no UTF-8 for a character.
_MISREAD = re.compile(r"@\s*-|\\x[89a-fA-F]|\\[23][0-7]{2}")
_MATCHED_BY = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}


def pin(text: str, time: float) -> str | None:
    """`text` with `@ time` (unix seconds) wherever no `@` is; None where pinning would change what it means."""
    if _UNPINNED.search(text) or _MISREAD.search(text):
        return None
    try:
        return _Printer(f" @ {time:.3f}").show(parser.parse(text))
    except ValueError:
        return None


def selectors(text: str) -> list[list[tuple[str, str, str]]] | None:
    """Of each selector its matchers (label, operator, value); None where the parser does not know the language."""
    found: list[list[tuple[str, str, str]]] = []

    def visit(expr: Any) -> bool:
        selector = getattr(expr, "vector_selector", expr)
        if isinstance(selector, parser.VectorSelector):
            found.append(_matchers(selector))
        return True

    try:
        parser.walk(parser.parse(text), visit)
    except ValueError:
        return None
    return found


def _matchers(selector: Any) -> list[tuple[str, str, str]]:
    named = [("__name__", "=", str(selector.name))] if selector.name else []
    return named + [
        (matcher.name, _MATCHED_BY[str(matcher.op)], matcher.value) for matcher in selector.matchers.matchers
    ]


class _Printer:
    """Prints a parsed expression; the parser's own printing escapes no quotes and rounds durations."""

    def __init__(self, at: str) -> None:
        self._at = at

    def show(self, expr: Any) -> str:
        """Raises ValueError for what it does not know."""
        shown: dict[str, Callable[[Any], str]] = {
            "NumberLiteral": lambda number: repr(number.val),
            "StringLiteral": lambda string: _quote(string.val),
            "ParenExpr": lambda paren: f"({self.show(paren.expr)})",
            "UnaryExpr": lambda unary: f"-{self.show(unary.expr)}",
            "VectorSelector": lambda vector: _selector(vector) + self._moved(vector),
            "MatrixSelector": self._matrix,
            "SubqueryExpr": self._subquery,
            "Call": lambda call: f"{call.func.name}({', '.join(map(self.show, call.args))})",
            "AggregateExpr": self._aggregate,
            "BinaryExpr": self._binary,
        }
        kind = type(expr).__name__
        if kind not in shown:
            raise ValueError(f"no print of {kind}")
        return shown[kind](expr)

    def _moved(self, selected: Any) -> str:
        offset = "" if selected.offset is None else f" offset {_duration(selected.offset)}"
        return (self._at if selected.at is None else f" {selected.at}") + offset

    def _matrix(self, matrix: Any) -> str:
        vector = matrix.vector_selector
        return f"{_selector(vector)}[{_duration(matrix.range)}]{self._moved(vector)}"

    def _subquery(self, subquery: Any) -> str:
        step = "" if subquery.step is None else _duration(subquery.step)
        inner = _Printer("").show(subquery.expr)  # what a subquery reads follows its own steps
        return f"{inner}[{_duration(subquery.range)}:{step}]{self._moved(subquery)}"

    def _aggregate(self, aggregate: Any) -> str:
        grouped = ""
        if aggregate.modifier is not None:
            word = "by" if str(aggregate.modifier.type).endswith("By") else "without"
            grouped = f" {word} {_names(aggregate.modifier.labels)}"
        arguments = [aggregate.expr] if aggregate.param is None else [aggregate.param, aggregate.expr]
        return f"{aggregate.op}{grouped} ({', '.join(map(self.show, arguments))})"

    def _binary(self, binary: Any) -> str:
        words, modifier = [self.show(binary.lhs), str(binary.op)], binary.modifier
        if modifier is not None:
            if modifier.return_bool:
                words.append("bool")
            if modifier.matching is not None:
                word = "on" if str(modifier.matching.type).endswith("Include") else "ignoring"
                words.append(word + _names(modifier.matching.labels))
            sided = {"ManyToOne": "group_left", "OneToMany": "group_right"}.get(str(modifier.card).rpartition(".")[2])
            if sided is not None:
                words.append(sided + _names(modifier.group_labels or []))
            words += _fills(modifier.fill_values)
        return " ".join([*words, self.show(binary.rhs)])


def _fills(fill: Any) -> list[str]:
    if fill is None:
        return []
    sides = (("fill_left", fill.lhs), ("fill_right", fill.rhs))
    return [f"{word}({value!r})" for word, value in sides if value is not None]


def _selector(selector: Any) -> str:
    if selector.matchers.or_matchers:
        raise ValueError("no print of alternative matchers")
    matchers, name = _matchers(selector), ""
    if selector.name and re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", selector.name):
        matchers, name = matchers[1:], selector.name
    return name + "{" + ", ".join(f"{_label(label)}{op}{_quote(value)}" for label, op, value in matchers) + "}"


def _names(labels: list[str]) -> str:
    return "(" + ", ".join(map(_label, labels)) + ")"


def _label(name: str) -> str:
    return name if re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) else _quote(name)


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _duration(length: timedelta) -> str:
    milliseconds = round(length / timedelta(milliseconds=1))
    return f"-{-milliseconds}ms" if milliseconds < 0 else f"{milliseconds}ms"
