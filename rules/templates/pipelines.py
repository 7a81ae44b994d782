"""The parser's lower half: a stream of tokens, and from it pipelines, commands and operands."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NoReturn

from rules.errors import TemplateError
from rules.strconv import quote
from rules.templates.lexer import Token, tokens
from rules.templates.literals import parse_character, parse_number, unquote
from rules.templates.nodes import (
    Bool,
    Chain,
    Command,
    Dot,
    Field,
    Identifier,
    Nil,
    Number,
    Operand,
    Pipe,
    String,
    Variable,
)
from rules.templates.scope import Scope

_DEEPEST = 64  # nested control structures and parentheses; Go allows 10000, Python's stack does not
_LITERALS = (Bool, Dot, Nil, Number, String)


class PipelineParser:
    """Errors are TemplateErrors in Go's words, with the name of the template and the line."""

    def __init__(self, text: str, start: int, name: str, functions: Collection[str]) -> None:
        self._name = name
        self._functions = functions
        self._tokens = tokens(text, start)
        self._place = self._seen = 0
        self._action_line = 0
        self._depth = 0
        self._scope = Scope()
        self._terms: Mapping[str, Callable[[Token], Operand]] = {
            "identifier": self._function,
            "variable": self._variable,
            "left": self._parenthesized,
            "string": self._string,
            "raw": self._string,
            "number": self._number,
            "complex": self._number,
            "char": self._number,
            "dot": lambda token: Dot(token.place),
            "nil": lambda token: Nil(token.place),
            "field": lambda token: Field(token.place, (token.text[1:],)),
            "bool": lambda token: Bool(token.place, token.text == "true"),
        }

    def _peek(self, ahead: int = 0) -> Token:
        place = min(self._place + ahead, len(self._tokens) - 1)
        self._seen = max(self._seen, place)
        return self._tokens[place]

    def _next(self) -> Token:
        token = self._peek()
        self._place += 1
        return token

    def _skip_space(self) -> Token:
        """The next token that is no space, which is not taken."""
        while self._peek().kind == "space":
            self._place += 1
        return self._peek()

    def _take(self) -> Token:
        self._skip_space()
        return self._next()

    def _fail(self, message: str) -> NoReturn:
        raise TemplateError(f"template: {self._name}:{self._tokens[self._seen].line}: {message}")

    def _unexpected(self, token: Token, context: str) -> NoReturn:
        if token.kind != "error":
            self._fail(f"unexpected {token} in {context}")
        extra = ""
        if self._action_line not in {0, token.line}:
            extra = f" in action started at {self._name}:{self._action_line}"
            extra = extra.removeprefix(" in action") if token.text.endswith(" action") else extra
        self._fail(f"{token}{extra}")

    def _expect(self, kinds: Collection[str], context: str) -> Token:
        token = self._take()
        if token.kind not in kinds:
            self._unexpected(token, context)
        return token

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            self._fail("max expression depth exceeded")

    def _pipeline(self, context: str, end: str) -> Pipe:
        start = self._skip_space()
        declared, assigns = self._declared(context)
        self._scope.expect([token.text for token in declared])
        commands: list[Command] = []
        while True:
            token = self._skip_space()
            if token.kind == end:
                self._place += 1
                break
            if token.kind not in self._terms:
                self._place += 1
                self._unexpected(token, context)
            commands.append(self._command())
        if not commands:
            self._fail(f"missing value for {context}")
        for stage, command in enumerate(commands[1:], 2):
            if isinstance(command.words[0], _LITERALS):
                self._fail(f"non executable command in pipeline stage {stage}")
        self._scope.settle(len(declared))
        bind = self._scope.assign if assigns else self._scope.declare
        variables = tuple(Variable(token.place, (token.text,), bind(token.text)) for token in declared)
        return Pipe(start.place, assigns, variables, tuple(commands))

    def _declared(self, context: str) -> tuple[list[Token], bool]:
        """The variables before := or =, and whether it is =."""
        declared: list[Token] = []
        while self._skip_space().kind == "variable":
            before = self._place
            token = self._next()
            following = self._skip_space()
            if following.kind in {"assign", "declare"}:
                self._place += 1
                return [*declared, token], following.kind == "assign"
            if (following.kind, following.text) != ("symbol", ","):
                self._place = before
                break
            self._place += 1
            if context != "range" or declared:
                self._fail(f"too many declarations in {context}")
            declared.append(token)
            if self._skip_space().kind not in {"variable", "}}", "right"}:
                self._fail("range can only initialize variables")
        return declared, False

    def _command(self) -> Command:
        start = self._skip_space()
        words: list[Operand] = []
        while True:
            self._skip_space()
            word = self._operand()
            if word is not None:
                words.append(word)
            token = self._next()
            if token.kind == "space":
                continue
            if token.kind in {"}}", "right"}:
                self._place -= 1
            elif token.kind != "pipe":
                self._unexpected(token, "operand")
            break
        if not words:
            self._fail("empty command")
        return Command(start.place, tuple(words))

    def _operand(self) -> Operand | None:
        """A term and the fields behind it; None where there is none."""
        term = self._term()
        if term is None or self._peek().kind != "field":
            return term
        place, names = self._peek().place, []
        while self._peek().kind == "field":
            names.append(self._next().text[1:])
        if isinstance(term, _LITERALS):
            self._fail(f"unexpected . after term {quote(str(term))}")
        if isinstance(term, Field):
            return Field(place, (*term.names, *names))
        if isinstance(term, Variable):
            return Variable(place, (*term.names, *names), term.slot)
        return Chain(place, term, tuple(names))

    def _term(self) -> Operand | None:
        token = self._skip_space()
        parse = self._terms.get(token.kind)
        if parse is None:
            return None
        self._place += 1
        return parse(token)

    def _function(self, token: Token) -> Identifier:
        if token.text not in self._functions:
            self._fail(f"function {quote(token.text)} not defined")
        return Identifier(token.place, token.text)

    def _variable(self, token: Token) -> Variable:
        slot = self._scope.find(token.text)
        if slot is None:
            self._fail(f"undefined variable {quote(token.text)}")
        return Variable(token.place, (token.text,), slot)

    def _parenthesized(self, _: Token) -> Pipe:
        self._deeper()
        pipe = self._pipeline("parenthesized pipeline", "right")
        self._depth -= 1
        return pipe

    def _string(self, token: Token) -> String:
        return String(token.place, token.text, self._unquoted(token))

    def _number(self, token: Token) -> Number:
        try:
            if token.kind == "char":
                code = parse_character(token.text)
                return Number(token.place, token.text, code, code)
            return Number(token.place, token.text, *parse_number(token.text))
        except ValueError as error:
            self._fail(str(error))

    def _unquoted(self, token: Token) -> str:
        try:
            return unquote(token.text)
        except ValueError as error:
            self._fail(str(error))
