"""Annotation and label templates: the part of Go's text/template that rules need, parsed when the file is loaded.

    {{ $labels.relname }} has {{ $value | printf "%.0f" }} rows, {{ humanize1024 $value }}B

Operands are $value, $labels.NAME, $labels, strings, numbers and pipelines in parentheses; functions are those of
Prometheus that format a number. Control structures and queries are refused at load.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rules import formats
from rules.errors import TemplateError
from rules.formats import Value
from rules.labels import Labels

Operand = Callable[[Labels, float], Value]

_FUNCTIONS: Mapping[str, Callable[[Value], str]] = {
    "humanize": formats.humanize,
    "humanize1024": formats.humanize1024,
    "humanizeDuration": formats.humanize_duration,
    "humanizePercentage": formats.humanize_percentage,
    "humanizeTimestamp": formats.humanize_timestamp,
}
_ACTION = re.compile(
    r"\{\{(?P<left>-(?=\s))?(?P<body>(?:\"(?:\\.|[^\"\\])*\"|`[^`]*`|.)*?)(?P<right>(?<=\s)-)?\}\}", re.DOTALL
)
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:\\.|[^"\\\n])*"|`[^`]*`)|(?P<number>[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)(?![\w.])"""
    r"""|(?P<label>(?:\$labels|\.Labels)\.(?P<name>[a-zA-Z_]\w*))|(?P<labels>\$labels\b|\.Labels\b)"""
    r"""|(?P<value>\$value\b|\.Value\b)|(?P<word>[a-zA-Z_]\w*)|(?P<mark>[|()]))""",
    re.ASCII,
)
_CONTROL = frozenset({"if", "else", "end", "range", "with", "define", "template", "block", "break", "continue"})
_COMMENT = re.compile(r"/\*.*\*/", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template; `parts` are texts and operands in turn."""

    source: str
    parts: tuple[str | Operand, ...]

    @classmethod
    def parse(cls, source: str) -> Template:
        """Raises TemplateError for what Go would refuse, and for what is not supported."""
        parts: list[str | Operand] = []
        place, trim = 0, False
        for match in _ACTION.finditer(source):
            parts.append(_trimmed(source[place : match.start()], left=trim, right=bool(match["left"])))
            body = match["body"].strip()
            if not _COMMENT.fullmatch(body):
                parts.append(_Parser(body).action())
            place, trim = match.end(), bool(match["right"])
        rest = source[place:]
        if "{{" in rest:
            raise TemplateError("unclosed action")
        parts.append(_trimmed(rest, left=trim, right=False))
        return cls(source, tuple(part for part in parts if part != ""))

    @property
    def constant(self) -> str | None:
        """Its text where it depends on nothing."""
        texts = [part for part in self.parts if isinstance(part, str)]
        return "".join(texts) if len(texts) == len(self.parts) else None

    def expand(self, labels: Labels, value: float) -> str:
        """The text for one element. An error becomes text, as in Prometheus: it must not hide the alert."""
        try:
            return "".join(part if isinstance(part, str) else formats.text(part(labels, value)) for part in self.parts)
        except TemplateError as error:
            return f"<error expanding template: {error.message}>"


def _trimmed(text: str, *, left: bool, right: bool) -> str:
    text = text.lstrip() if left else text
    return text.rstrip() if right else text


class _Parser:
    """Recursive descent over the inside of one action."""

    def __init__(self, body: str) -> None:
        self._tokens: list[re.Match[str]] = []
        place = 0
        while place < len(body.rstrip()):
            token = _TOKEN.match(body, place)
            if token is None:
                raise TemplateError(f"{{{{ {body} }}}} is not supported, from {body[place:].strip()!r} on")
            self._tokens.append(token)
            place = token.end()
        self._place = 0

    def action(self) -> Operand:
        result = self._pipeline()
        if self._place < len(self._tokens):
            raise TemplateError(f"unexpected {self._tokens[self._place][0].strip()!r} in a template")
        return result

    def _mark(self) -> str | None:
        return self._tokens[self._place]["mark"] if self._place < len(self._tokens) else ""

    def _pipeline(self) -> Operand:
        result = self._command(None)
        while self._mark() == "|":
            self._place += 1
            result = self._command(result)
        return result

    def _command(self, piped: Operand | None) -> Operand:
        function = self._tokens[self._place]["word"] if self._place < len(self._tokens) else None
        if function in _CONTROL:
            raise TemplateError(f"control structures such as {{{{ {function} }}}} are not supported")
        if function is not None:
            self._place += 1
        operands: list[tuple[Operand, str | None]] = []
        while self._mark() is None or self._mark() == "(":
            operands.append(self._operand())
        if piped is not None and function is not None:
            operands.append((piped, None))
        if function is not None:
            return _call(function, operands)
        if len(operands) != 1 or piped is not None:
            raise TemplateError("a template's command must be a value, or a function and its arguments")
        return operands[0][0]

    def _operand(self) -> tuple[Operand, str | None]:
        """An operand, and its text where it is a string literal."""
        token = self._tokens[self._place]
        self._place += 1
        if token["mark"]:
            inner = self._pipeline()
            if self._mark() != ")":
                raise TemplateError("unclosed left parenthesis in a template")
            self._place += 1
            return inner, None
        if token["string"]:
            text = _unquote(token["string"])
            return (lambda _, __: text), text
        return _plain(token), None


def _plain(token: re.Match[str]) -> Operand:
    if token["number"]:
        number = float(token["number"])
        return lambda _, __: number
    if token["label"]:
        name = token["name"]
        return lambda labels, _: labels.value(name)
    if token["labels"]:
        return lambda labels, _: "map[" + " ".join(f"{name}:{value}" for name, value in labels.pairs) + "]"
    if token["value"]:
        return lambda _, value: value
    raise TemplateError(f"{token['word']!r} must stand at the start of a command")


def _call(function: str, operands: list[tuple[Operand, str | None]]) -> Operand:
    if function == "printf":
        if not operands or operands[0][1] is None:
            raise TemplateError("printf needs a format in quotes as its first argument")
        template, arguments = operands[0][1], [operand for operand, _ in operands[1:]]
        formats.check_format(template, len(arguments))
        return lambda labels, value: formats.printf(template, [argument(labels, value) for argument in arguments])
    if function not in _FUNCTIONS:
        raise TemplateError(f'function "{function}" not defined, or not supported')
    if len(operands) != 1:
        raise TemplateError(f"wrong number of args for {function}: want 1 got {len(operands)}")
    compute, operand = _FUNCTIONS[function], operands[0][0]
    return lambda labels, value: compute(operand(labels, value))


def _unquote(literal: str) -> str:
    if literal[0] == "`":
        return literal[1:-1]
    try:
        return str(ast.literal_eval(literal))
    except (SyntaxError, ValueError) as error:
        raise TemplateError(f"malformed string {literal}") from error
