"""A template cut into tokens (text/template/parse/lex.go): texts, and inside of {{ }} words, literals and marks."""

from __future__ import annotations

import re
from typing import NamedTuple

from rules.strconv import code_point, quote

KEYWORDS = frozenset({"block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with"})
_SPACE = re.compile(r"[ \t\r\n]*")
_COMMENT = re.compile(r"\{\{(?:-[ \t\r\n])?/\*")
_RIGHT = re.compile(r"(?P<trim>[ \t\r\n]-)?\}\}")
_TOKEN = re.compile(
    r"""(?P<space>(?:[ \t\r\n](?!-\}\}))+)|(?P<declare>:=)|(?P<assign>=)|(?P<pipe>\|)|(?P<left>\()|(?P<right>\))
    |(?P<string>"(?:\\[^\n]|[^"\\\n])*")|(?P<raw>`[^`]*`)|(?P<char>'(?:\\[^\n]|[^'\\\n])*')
    |(?P<variable>\$\w*)|(?P<field>\.(?=[^0-9])\w*)|(?P<number>[-+0-9.])|(?P<word>\w+)""",
    re.VERBOSE,
)
_NUMBER = re.compile(
    r"""[+-]?(?:0[xX][0-9a-fA-F_]*(?:\.[0-9a-fA-F_]*)?(?:[pP][+-]?[0-9_]*)?|0[oO][0-7_]*(?:\.[0-7_]*)?
    |0[bB][01_]*(?:\.[01_]*)?|[0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9_]*)?)i?""",
    re.VERBOSE,
)
_UNTERMINATED = {'"': "quoted string", "`": "raw quoted string", "'": "character constant"}


def _in_words(mark: str) -> bool:
    """Letters, decimal digits and _: fewer than \\w takes."""
    return mark.isalpha() or mark.isdecimal() or mark == "_"


class Token(NamedTuple):
    """`kind` is a keyword itself or one of: text, {{, }}, space, declare, assign, pipe, left, right, string, raw, char,
    variable, field, dot, number, complex, bool, identifier, symbol, error (its text says what is wrong), EOF."""

    kind: str
    place: int  # where it starts in the whole text, in characters
    text: str
    line: int

    def __str__(self) -> str:
        if self.kind in {"EOF", "error"}:
            return self.text
        if self.kind == "dot" or self.kind in KEYWORDS:
            return f"<{self.text}>"
        return f"{quote(self.text[:10])}..." if len(self.text.encode(errors="replace")) > 10 else quote(self.text)


class _LexError(Exception):
    """Carries what Go's lexer says."""


class _Lexer:
    def __init__(self, text: str, start: int) -> None:
        self.tokens: list[Token] = []
        self._text = text
        self._place = start
        self._line = 1

    def run(self) -> None:
        try:
            while self._outside():
                self._inside()
            self._emit("EOF", self._place, "EOF")
        except _LexError as error:
            self._emit("error", self._place, str(error))

    def _emit(self, kind: str, end: int, text: str | None = None) -> None:
        piece = self._text[self._place : end]
        self.tokens.append(Token(kind, self._place, piece if text is None else text, self._line))
        self._skip_to(end)

    def _skip_to(self, end: int) -> None:
        self._line += self._text.count("\n", self._place, end)
        self._place = end

    def _outside(self) -> bool:
        """Text up to the next action, whose left delimiter is taken; False at the end of all."""
        text = self._text
        while True:
            start = text.find("{{", self._place)
            end = len(text) if start < 0 else start
            trim = start >= 0 and text[start + 2 : start + 3] == "-" and text[start + 3 : start + 4] in {*" \t\r\n"}
            kept = text[self._place : end].rstrip(" \t\r\n") if trim else text[self._place : end]
            if kept:
                self._emit("text", self._place + len(kept))
            self._skip_to(end)
            if start < 0:
                return False
            comment = _COMMENT.match(text, start)
            if comment is None:
                self._emit("{{", start + 2)
                self._skip_to(start + 4 if trim else start + 2)
                return True
            self._comment(comment.end())

    def _comment(self, start: int) -> None:
        end = self._text.find("*/", start)
        if end < 0:
            raise _LexError("unclosed comment")
        right = _RIGHT.match(self._text, end + 2)
        if right is None:
            raise _LexError("comment ends before closing delimiter")
        self._skip_to(self._after(right))

    def _after(self, right: re.Match[str]) -> int:
        """Where the text goes on after a right delimiter."""
        spaces = _SPACE.match(self._text, right.end())
        return spaces.end() if right["trim"] and spaces else right.end()

    def _inside(self) -> None:
        text, depth = self._text, 0
        while True:
            right = _RIGHT.match(text, self._place)
            if right is not None:
                if depth:
                    raise _LexError("unclosed left paren")
                self._emit("}}", right.end(), "}}")
                self._skip_to(self._after(right))
                return
            token = _TOKEN.match(text, self._place)
            kind = token.lastgroup if token is not None else None
            depth += (kind == "left") - (kind == "right")
            if token is None or kind is None or (kind == "word" and not _in_words(text[self._place])):
                self._mark()
            elif kind == "number":
                self._number()
            elif kind in {"variable", "field", "word"}:
                self._name(kind, token.end())
            else:
                self._emit(kind, token.end())

    def _name(self, kind: str, end: int) -> None:
        place = self._place
        if not self._text[place:end].isascii():
            end = next((at for at in range(place + 1, end) if not _in_words(self._text[at])), end)
        following = self._text[end : end + 1]
        if following not in {*" \t\r\n.,|:()", ""} and not self._text.startswith("}}", end):
            raise _LexError(f"bad character {code_point(following)}")
        word = self._text[self._place : end]
        if kind == "word":
            kind = word if word in KEYWORDS else "bool" if word in {"true", "false"} else "identifier"
        self._emit("dot" if word == "." else kind, end)

    def _number(self) -> None:
        text, kind = self._text, "number"
        end = self._digits(self._place)
        if text[end : end + 1] in {"+", "-"}:
            kind, end = "complex", self._digits(end)
            if text[end - 1] != "i":
                raise _LexError(f"bad number syntax: {quote(text[self._place : end])}")
        self._emit(kind, end)

    def _digits(self, start: int) -> int:
        match = _NUMBER.match(self._text, start)
        end = match.end() if match else start
        following = self._text[end : end + 1]
        if following and _in_words(following):
            raise _LexError(f"bad number syntax: {quote(self._text[self._place : end + 1])}")
        return end

    def _mark(self) -> None:
        """One character that belongs to nothing else."""
        mark = self._text[self._place : self._place + 1]
        if not mark:
            raise _LexError("unclosed action")
        if mark in _UNTERMINATED:
            raise _LexError(f"unterminated {_UNTERMINATED[mark]}")
        if mark == ":":
            raise _LexError("expected :=")
        if not (mark.isascii() and mark.isprintable()):
            raise _LexError(f"unrecognized character in action: {code_point(mark)}")
        self._emit("symbol", self._place + 1)


def tokens(text: str, start: int = 0) -> list[Token]:
    """The tokens of `text` from `start` on, where line 1 begins; the last one is EOF or an error."""
    lexer = _Lexer(text, start)
    lexer.run()
    return lexer.tokens
