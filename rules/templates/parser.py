"""From a text to the syntax trees of its templates (text/template/parse/parse.go)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from rules.strconv import quote
from rules.templates.lexer import Token
from rules.templates.nodes import Action, Body, Call, Choice, Jump, Pipe, Range, Statement, Text, Tree
from rules.templates.pipelines import PipelineParser
from rules.templates.scope import Scope

# what Prometheus puts before every template; the columns of its errors count it
HEADER = (
    "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"
)
DECLARED = ("$labels", "$externalLabels", "$externalURL", "$value")


class Parser(PipelineParser):
    """Parses a text, as if it stood behind the header; `trees` holds it under its name, and what it defines."""

    def __init__(self, source: str, name: str, functions: Collection[str]) -> None:
        super().__init__(HEADER + source, len(HEADER), name, functions)
        for variable in DECLARED:
            self._scope.declare(variable)
        self.trees: dict[str, Tree] = {}
        self._ranges = 0
        self._controls: Mapping[str, Callable[[Token], Statement | Token]] = {
            "if": self._choice,
            "with": self._choice,
            "range": self._range,
            "template": self._call,
            "block": self._call,
            "break": self._jump,
            "continue": self._jump,
            "else": self._else,
            "end": self._end,
        }

    def parse(self) -> dict[str, Tree]:
        """Raises TemplateError."""
        statements: list[Statement] = []
        while self._peek().kind != "EOF":
            if self._peek().kind == "{{" and self._peek(1).kind in {"define", "space"} and self._defines():
                self._definition()
                continue
            statement = self._statement()
            if isinstance(statement, Token):
                self._fail(f"unexpected {{{{{statement.kind}}}}}")
            statements.append(statement)
        self._add(self._name, Tree(tuple(statements), self._scope.size))
        return self.trees

    def _defines(self) -> bool:
        place = self._place
        self._place += 1
        defines = self._take().kind == "define"
        if not defines:
            self._place = place
        return defines

    def _definition(self) -> None:
        context = "define clause"
        name = self._unquoted(self._expect({"string", "raw"}, context))
        self._expect({"}}"}, context)
        self._apart(name, context)

    def _apart(self, name: str, context: str) -> None:
        """The body of a template of its own, which sees no variables from around it."""
        outer, ranges = self._scope, self._ranges
        self._scope, self._ranges = Scope(), 0
        self._deeper()
        body, end = self._body()
        self._depth -= 1
        if end.kind != "end":
            self._fail(f"unexpected {{{{{end.kind}}}}} in {context}")
        self._add(name, Tree(body, self._scope.size))
        self._scope, self._ranges = outer, ranges

    def _add(self, name: str, tree: Tree) -> None:
        known = self.trees.get(name)
        if known is None or _is_empty(known):
            self.trees[name] = tree
        elif not _is_empty(tree):
            self._fail(f"template: multiple definition of template {quote(name)}")

    def _body(self) -> tuple[Body, Token]:
        """Statements up to an end or else, whose token is returned."""
        statements: list[Statement] = []
        while self._skip_space().kind != "EOF":
            statement = self._statement()
            if isinstance(statement, Token):
                return tuple(statements), statement
            statements.append(statement)
        return self._fail("unexpected EOF")

    def _statement(self) -> Statement | Token:
        token = self._take()
        if token.kind == "text":
            return Text(token.place, token.text)
        if token.kind != "{{":
            self._unexpected(token, "input")
        self._action_line = token.line
        statement = self._action()
        self._action_line = 0
        return statement

    def _action(self) -> Statement | Token:
        token = self._skip_space()
        parse = self._controls.get(token.kind)
        if parse is None:
            return Action(token.place, self._pipeline("command", "}}"))
        self._place += 1
        return parse(token)

    def _jump(self, token: Token) -> Jump:
        self._expect({"}}"}, f"{{{{{token.kind}}}}}")
        if not self._ranges:
            self._fail(f"{{{{{token.kind}}}}} outside {{{{range}}}}")
        return Jump(token.place, token.kind == "break")

    def _end(self, token: Token) -> Token:
        self._expect({"}}"}, "end")
        return token

    def _else(self, token: Token) -> Token:
        """{{ else if }} and {{ else with }} leave their second word to the caller."""
        if self._skip_space().kind not in {"if", "with"}:
            self._expect({"}}"}, "else")
        return token

    def _choice(self, token: Token) -> Choice:
        self._deeper()
        mark = self._scope.mark()
        arms: list[tuple[Pipe, Body]] = []
        otherwise: Body = ()
        more = True
        while more:
            pipe = self._pipeline(token.kind, "}}")
            body, end = self._body()
            arms.append((pipe, body))
            more = end.kind == "else" and self._peek().kind == token.kind
            if more:
                self._place += 1
            elif end.kind == "else":
                otherwise = self._last_body()
        self._scope.back_to(mark)
        self._depth -= 1
        return Choice(token.place, token.kind == "with", tuple(arms), otherwise)

    def _last_body(self) -> Body:
        body, end = self._body()
        if end.kind != "end":
            self._fail(f"expected end; found {{{{{end.kind}}}}}")
        return body

    def _range(self, token: Token) -> Range:
        self._deeper()
        mark = self._scope.mark()
        pipe = self._pipeline("range", "}}")
        self._ranges += 1
        body, end = self._body()
        self._ranges -= 1
        otherwise = self._last_body() if end.kind == "else" else ()
        self._scope.back_to(mark)
        self._depth -= 1
        return Range(token.place, pipe, body, otherwise)

    def _call(self, keyword: Token) -> Call:
        context = f"{keyword.kind} clause"
        token = self._expect({"string", "raw"}, context)
        name = self._unquoted(token)
        pipe = None
        if keyword.kind == "template" and self._skip_space().kind == "}}":
            self._place += 1
        else:
            pipe = self._pipeline(context, "}}")
        if keyword.kind == "block":
            self._apart(name, context)
        return Call(token.place, quote(name), name, pipe)


def _is_empty(tree: Tree) -> bool:
    """Whether a tree may be defined again: it declares nothing, and is space at most."""
    return tree.slots == 1 and all(isinstance(one, Text) and not one.value.strip() for one in tree.body)
