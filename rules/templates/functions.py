"""All functions of a rule's template by name: Go's own and those of Prometheus 3."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rules.templates import builtins, humanize, links, regexes
from rules.templates.printing import sprint, sprintf, sprintln
from rules.templates.state import State
from rules.templates.values import Arguments, ExpansionError, Html, Sample, Value, Vector

_NIL_POINTER = "runtime error: invalid memory address or nil pointer dereference"


@dataclass(frozen=True, slots=True)
class Function:
    """`wanted` are the Go types of the arguments ("any" takes all), `more` of those that may follow them; `stateful`
    ones get the state first."""

    call: Callable[..., Value]
    wanted: tuple[str, ...] = ("any",)
    more: str | None = None
    stateful: bool = False

    def type_of(self, place: int) -> str:
        return self.wanted[place] if place < len(self.wanted) else self.more or "any"


def _query(state: State, expression: str) -> Vector:
    return state.query(expression)


def _first(vector: Vector) -> Sample:
    if not vector:
        raise ExpansionError("first() called on vector with no elements")
    return vector[0]


def _label(name: str, sample: Sample | None) -> str:
    if sample is None:
        raise ExpansionError(_NIL_POINTER)
    return sample.labels.get(name, "")


def _value(sample: Sample | None) -> float:
    if sample is None:
        raise ExpansionError(_NIL_POINTER)
    return sample.value


def _sort_by_label(state: State, name: str, vector: Vector) -> Vector:
    state.spend(len(vector))
    vector.sort(key=lambda sample: sample.labels.get(name, ""))
    return vector


def _matches(state: State, pattern: str, text: str) -> bool:
    state.spend_on_pattern(pattern)
    return regexes.matches(pattern, text)


def _replace_all(state: State, pattern: str, replacement: str, text: str) -> str:
    state.spend_on_pattern(pattern)
    return regexes.replace_all(pattern, replacement, text, state.spend)


def _args(*values: Value) -> Arguments:
    return Arguments((f"arg{place}", value) for place, value in enumerate(values))


_TEXT, _TWO_TEXTS = ("string",), ("string", "string")
_VECTOR, _SAMPLE = "template.queryResult", "*template.sample"

FUNCTIONS: Mapping[str, Function] = {
    # Go's; the evaluation short-circuits and, or
    "and": Function(lambda *values: values[-1], more="any"),
    "or": Function(lambda *values: values[-1], more="any"),
    "not": Function(builtins.negate),
    "eq": Function(builtins.equal, more="any"),
    **{name: Function(builtins.COMPARISONS[name], ("any", "any")) for name in ("ne", "lt", "le", "gt", "ge")},
    "index": Function(builtins.index, more="any"),
    "slice": Function(builtins.cut, more="any"),
    "len": Function(builtins.length),
    "call": Function(builtins.call, more="any"),
    "print": Function(lambda *values: sprint(values), (), "any"),
    "printf": Function(lambda form, *values: sprintf(form, values), _TEXT, "any"),
    "println": Function(lambda *values: sprintln(values), (), "any"),
    "html": Function(builtins.html, (), "any"),
    "js": Function(builtins.js, (), "any"),
    "urlquery": Function(builtins.urlquery, (), "any"),
    # Prometheus's
    "query": Function(_query, _TEXT, stateful=True),
    "first": Function(_first, (_VECTOR,)),
    "label": Function(_label, ("string", _SAMPLE)),
    "value": Function(_value, (_SAMPLE,)),
    "strvalue": Function(lambda sample: _label("__value__", sample), (_SAMPLE,)),
    "sortByLabel": Function(_sort_by_label, ("string", _VECTOR), stateful=True),
    "args": Function(_args, (), "any"),
    "reReplaceAll": Function(_replace_all, ("string", "string", "string"), stateful=True),
    "match": Function(_matches, _TWO_TEXTS, stateful=True),
    "safeHtml": Function(Html, _TEXT),
    "title": Function(links.title, _TEXT),
    "toUpper": Function(links.to_upper, _TEXT),
    "toLower": Function(links.to_lower, _TEXT),
    "graphLink": Function(links.graph_link, _TEXT),
    "tableLink": Function(links.table_link, _TEXT),
    "stripPort": Function(links.strip_port, _TEXT),
    "stripDomain": Function(links.strip_domain, _TEXT),
    "urlQueryEscape": Function(links.query_escape, _TEXT),
    "humanize": Function(humanize.humanize),
    "humanize1024": Function(humanize.humanize_1024),
    "humanizeDuration": Function(humanize.humanize_duration),
    "humanizePercentage": Function(humanize.humanize_percentage),
    "humanizeTimestamp": Function(humanize.humanize_timestamp),
    "toTime": Function(humanize.to_time),
    "toDuration": Function(humanize.to_duration),
    "parseDuration": Function(humanize.seconds_of, _TEXT),
    "now": Function(lambda state: state.context.now, (), stateful=True),
    "pathPrefix": Function(lambda state: links.path_of(state.context.external_url), (), stateful=True),
    "externalURL": Function(lambda state: state.context.external_url, (), stateful=True),
}
