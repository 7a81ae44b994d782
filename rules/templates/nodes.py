"""The syntax tree of a template. A node's text is what Go shows of it in an error; `place` is its offset."""

from __future__ import annotations

from dataclasses import dataclass

UNBOUND = -1  # the slot of a variable that is known to the parser, and has no value when it is read


@dataclass(frozen=True, slots=True)
class Node:
    place: int


@dataclass(frozen=True, slots=True)
class Dot(Node):
    def __str__(self) -> str:
        return "."


@dataclass(frozen=True, slots=True)
class Nil(Node):
    def __str__(self) -> str:
        return "nil"


@dataclass(frozen=True, slots=True)
class Bool(Node):
    value: bool

    def __str__(self) -> str:
        return "true" if self.value else "false"


@dataclass(frozen=True, slots=True)
class Number(Node):
    text: str
    value: int | float | complex
    whole: int | None  # the value where an integer is wanted

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class String(Node):
    quoted: str
    value: str

    def __str__(self) -> str:
        return self.quoted


@dataclass(frozen=True, slots=True)
class Identifier(Node):
    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Variable(Node):
    """$name.field.field; `slot` is the variable's place in the frame of its template."""

    names: tuple[str, ...]
    slot: int

    def __str__(self) -> str:
        return ".".join(self.names)


@dataclass(frozen=True, slots=True)
class Field(Node):
    names: tuple[str, ...]

    def __str__(self) -> str:
        return "".join(f".{name}" for name in self.names)


@dataclass(frozen=True, slots=True)
class Chain(Node):
    """Fields of the value of a pipeline in parentheses, or of a function's."""

    origin: Operand
    names: tuple[str, ...]

    def __str__(self) -> str:
        return _operand_text(self.origin) + "".join(f".{name}" for name in self.names)


@dataclass(frozen=True, slots=True)
class Command(Node):
    words: tuple[Operand, ...]

    def __str__(self) -> str:
        return " ".join(map(_operand_text, self.words))


@dataclass(frozen=True, slots=True)
class Pipe(Node):
    assigns: bool  # = instead of :=
    variables: tuple[Variable, ...]
    commands: tuple[Command, ...]

    def __str__(self) -> str:
        commands = " | ".join(map(str, self.commands))
        if not self.variables:
            return commands
        return f"{', '.join(map(str, self.variables))} {'=' if self.assigns else ':='} {commands}"


Operand = Dot | Nil | Bool | Number | String | Identifier | Variable | Field | Chain | Pipe


def _operand_text(operand: Operand) -> str:
    return f"({operand})" if isinstance(operand, Pipe) else str(operand)


@dataclass(frozen=True, slots=True)
class Text(Node):
    value: str


@dataclass(frozen=True, slots=True)
class Action(Node):
    pipe: Pipe


@dataclass(frozen=True, slots=True)
class Choice(Node):
    """if and with: the first arm whose pipeline is true; `moves` the dot to its value for with."""

    moves: bool
    arms: tuple[tuple[Pipe, Body], ...]
    otherwise: Body


@dataclass(frozen=True, slots=True)
class Range(Node):
    pipe: Pipe
    body: Body
    otherwise: Body


@dataclass(frozen=True, slots=True)
class Call(Node):
    """{{ template "name" pipeline }}"""

    quoted: str
    name: str
    pipe: Pipe | None

    def __str__(self) -> str:
        return f"{{{{template {self.quoted}{f' {self.pipe}' if self.pipe else ''}}}}}"


@dataclass(frozen=True, slots=True)
class Jump(Node):
    """break, or continue."""

    leaves: bool


Statement = Text | Action | Choice | Range | Call | Jump
Body = tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """One template, by its name; `slots` is how many variables its frame holds, the first is $."""

    body: Body
    slots: int
