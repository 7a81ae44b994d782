"""A rule's label or annotation: a text in Go's text/template, as Prometheus expands it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

from rules.errors import TemplateError
from rules.labels import Labels
from rules.strconv import quote
from rules.templates.execution import Program
from rules.templates.functions import FUNCTIONS
from rules.templates.nodes import Text
from rules.templates.parser import HEADER, Parser
from rules.templates.state import Context, State
from rules.templates.values import Data, ExpansionError

_NOWHERE = Context()
_NOTHING = Program({}, "")


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template. `constant` is its text where it depends on nothing."""

    source: str
    name: str  # in errors: Prometheus says __alert_NAME
    constant: str | None
    _program: Program = field(repr=False, compare=False)

    @classmethod
    def parse(cls, source: str, name: str = "annotation") -> Template:
        """Raises TemplateError, in Go's words, for what `promtool check rules` refuses."""
        text = source.encode("utf-8", "replace").decode()
        if "{{" not in text:
            return cls(source, name, text, _NOTHING)
        trees = Parser(text, name, FUNCTIONS).parse()
        own = trees[name].body
        texts = [statement.value for statement in own if isinstance(statement, Text)]
        constant = "".join(texts) if len(texts) == len(own) else None
        return cls(source, name, constant, Program(trees, name))

    def run(self, labels: Labels, value: float, context: Context = _NOWHERE) -> str:
        """The text for one element of an alert's result. Raises TemplateError where Prometheus would say so, and for
        a template that takes too many steps or too much text."""
        if self.constant is not None:
            return self.constant
        data = Data(dict(labels.pairs), dict(context.external_labels), context.external_url, value)
        state = State(context, self.name)
        try:
            self._program.run(state, self.name, data)
        except ExpansionError as failure:
            self._fail(state, str(failure))
        except RecursionError:
            self._fail(state, "exceeded maximum template depth")
        out = "".join(state.out)
        return out if out.isascii() else _valid(out)

    def expand(self, labels: Labels, value: float, context: Context = _NOWHERE) -> str:
        """As `run`, but an error becomes text, as in Prometheus: it must not hide the alert."""
        try:
            return self.run(labels, value, context)
        except TemplateError as error:
            return f"<error expanding template: {error.message}>"
        except Exception as error:  # noqa: BLE001 - the boundary of one annotation: a defect in it must not hide the alert
            return f"<error expanding template: panic expanding template {self.name}: {type(error).__name__}: {error}>"

    def _fail(self, state: State, message: str) -> NoReturn:
        before = (HEADER + self.source)[: state.node.place if state.node else 0]
        line, column = before.count("\n") + 1, len(before.rpartition("\n")[2].encode("utf-8", "replace"))
        raise TemplateError(
            f"error executing template {self.name}: template: {self.name}:{line}:{column}: "
            f"executing {quote(state.template)} at <{state.node}>: {message}"
        )


def _valid(text: str) -> str:
    """Bytes that are no UTF-8 as U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text
