"""One expansion at work: its output, its variables, what it may still spend, and where it is, for errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rules.errors import RuleError
from rules.labels import Labels
from rules.templates.nodes import Node
from rules.templates.printing import LONGEST
from rules.templates.values import ExpansionError, Sample, Value, Vector

QUERY_COST = 1_000
_MOST_STEPS = 200_000  # statements and functions; Go has no limit, so ranges over a billion must end here
_CHARACTERS_A_STEP = 16
_PATTERN_COST = 500
_DEEPEST = 64  # templates that call templates


@dataclass(frozen=True, slots=True)
class Context:
    """What a template can know besides its alert. `query` evaluates an expression at the alert's time, `now` is that
    time in unix seconds."""

    external_labels: Mapping[str, str] = field(default_factory=dict)
    external_url: str = ""
    query: Callable[[str], list[tuple[Labels, float]]] | None = None
    now: float = 0.0


class Unset:
    """The value of a variable before its declaration is executed."""


UNSET = Unset()


class State:
    __slots__ = ("_depth", "_patterns", "_size", "_steps", "context", "frame", "node", "out", "template")

    def __init__(self, context: Context, template: str) -> None:
        self.context = context
        self.template = template  # the name of the one at work
        self.frame: list[Value | Unset] = []
        self.node: Node | None = None
        self.out: list[str] = []
        self._size = 0
        self._steps = _MOST_STEPS
        self._depth = 0
        self._patterns: set[str] = set()

    def write(self, text: str) -> None:
        self._size += len(text)
        if self._size > LONGEST:
            raise ExpansionError(f"a text is longer than {LONGEST} characters")
        self.out.append(text)

    def spend(self, steps: int) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise ExpansionError(f"the template takes more than {_MOST_STEPS} steps")

    def spend_on(self, text: str) -> None:
        self.spend(len(text) // _CHARACTERS_A_STEP)

    def spend_on_pattern(self, pattern: str) -> None:
        """A regular expression costs much when it is new."""
        if pattern not in self._patterns:
            self._patterns.add(pattern)
            self.spend(_PATTERN_COST)

    def enter(self, template: str, frame: list[Value | Unset]) -> tuple[str, list[Value | Unset]]:
        """Begin a called template; returns what `leave` takes."""
        if self._depth == _DEEPEST:
            raise ExpansionError(f"exceeded maximum template depth ({_DEEPEST})")
        self._depth += 1
        before = self.template, self.frame
        self.template, self.frame = template, frame
        return before

    def leave(self, before: tuple[str, list[Value | Unset]]) -> None:
        self._depth -= 1
        self.template, self.frame = before

    def query(self, expression: str) -> Vector:
        self.spend(QUERY_COST)
        if self.context.query is None:
            raise ExpansionError("there is nothing to query here")
        try:
            found = self.context.query(expression)
        except RuleError as error:
            raise ExpansionError(error.message) from error
        self.spend(len(found))
        return Vector(Sample(dict(labels.pairs), value) for labels, value in found)
