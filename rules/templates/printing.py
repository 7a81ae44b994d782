"""Go's package fmt: Print, Println and Printf of the values of a template."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rules.strconv import code_point, format_float, general, quote, to_bytes
from rules.templates.directives import MISSING, STAR, Directive, directives
from rules.templates.times import text_of
from rules.templates.values import (
    Byte,
    Data,
    ExpansionError,
    Pointer,
    Sample,
    Value,
    Vector,
    type_name,
)

LONGEST = 1 << 18  # characters in one text; Go has no limit, a rule needs one
_ADDRESS = "0xc000000000"  # Go prints where a value lies in memory
_DIGITS = {"d": "d", "b": "b", "o": "o", "O": "o", "x": "x", "X": "X", "v": "d"}
_PREFIXES = {"b": "0b", "x": "0x", "X": "0X"}
_STRINGABLE = "vsxXq"
_DEEPEST = 50


class _Printer:
    """Prints under the flags of one directive."""

    def __init__(self, directive: Directive, width: int | None, precision: int | None) -> None:
        self.out: list[str] = []
        self.size = 0
        self._width, self._precision = width, precision
        self._minus = directive.minus
        self._zero = directive.zero and not directive.minus
        self._space = directive.space
        go_syntax = directive.verb == "v"
        self._plus, self._plus_v = directive.plus and not go_syntax, directive.plus and go_syntax
        self._sharp, self._sharp_v = directive.sharp and not go_syntax, directive.sharp and go_syntax
        self._erring = False

    def write(self, text: str) -> None:
        self.size += len(text)
        if self.size > LONGEST:
            raise ExpansionError(f"a text is longer than {LONGEST} characters")
        self.out.append(text)

    def _pad(self, text: str, *, zero: bool = False) -> None:
        missing = (self._width or 0) - len(text)
        if missing > 0:
            self.write(text + " " * missing if self._minus else ("0" if zero else " ") * missing + text)
        else:
            self.write(text)

    def value(self, value: Value, verb: str, depth: int = 0) -> None:
        if depth > _DEEPEST:
            raise ExpansionError("a value is nested too deeply")
        if value is None:
            self._nil(verb, depth)
        elif verb == "T" and not depth:
            self._pad(self._cut(type_name(value)), zero=self._zero)
        elif verb == "p" and not depth:
            self._pointer(value, verb)
        elif type(value) in _BASIC:
            self._basic(value, verb)
        else:
            self._composite(value, verb, depth)

    def _basic(self, value: Value, verb: str) -> None:
        if isinstance(value, str):
            self._string(value, verb)
        elif isinstance(value, bool):
            self._pad("true" if value else "false", zero=self._zero) if verb in "tv" else self._bad(value, verb)
        elif isinstance(value, int):
            self._integer(value, verb)
        elif isinstance(value, float):
            self._float(value, verb)
        elif isinstance(value, complex):
            self._complex(value, verb)

    def _nil(self, verb: str, depth: int) -> None:
        if depth:  # an interface that holds nothing
            self.write("interface {}(nil)" if self._sharp_v else "<nil>")
        elif verb not in "Tv":
            self.write(f"%!{verb}(<nil>)")
        else:
            self._pad("<nil>", zero=self._zero)

    def _bad(self, value: Value, verb: str) -> None:
        """A verb that does not fit the type."""
        self._erring = True
        self.write(f"%!{verb}({type_name(value)}=")
        self.value(value, "v")
        self.write(")")
        self._erring = False

    def _pointer(self, value: Value, verb: str) -> None:
        if isinstance(value, (dict, Vector, Sample, Pointer)):
            self._pad(_ADDRESS)
        else:
            self._bad(value, verb)

    def _composite(self, value: Value, verb: str, depth: int) -> None:
        text = None if self._erring or self._sharp_v or verb not in _STRINGABLE else text_of(value)
        if verb == "w" and not self._erring:
            self._bad(value, verb)
        elif text is not None:
            self._string(text, verb)
        elif isinstance(value, int):
            self._integer(int(value), verb, value)
        elif isinstance(value, str):
            self._string(str(value), verb, value)
        elif isinstance(value, dict):
            pairs = [(key, value[key]) for key in sorted(value)]
            self._items(value, ("map[", "]"), pairs, verb, depth)
        elif isinstance(value, Vector):
            self._items(value, ("[", "]"), [(None, sample) for sample in value], verb, depth)
        elif isinstance(value, Data) or (isinstance(value, Sample) and not depth):
            if isinstance(value, Sample):
                self.write("&")
            self.struct(value, verb, depth + 1)
        elif isinstance(value, Sample):
            self.write(_ADDRESS) if verb in "vbodxX" else self._bad(value, verb)
        else:  # Go shows the inside of a time; its text says more
            self.write(f"%!{verb}({type_name(value)}={text_of(value)})")

    def struct(self, value: Data | Sample, verb: str, depth: int = 0) -> None:
        name = type_name(value).removeprefix("*")
        named = self._plus_v or self._sharp_v
        if self._sharp_v:
            self.write(name)
        self.write("{")
        for place, (field, attribute) in enumerate(value.FIELDS.items()):
            self.write((", " if self._sharp_v else " ") if place else "")
            self.write(f"{field}:" if named else "")
            self.value(getattr(value, attribute), verb, depth + 1)
        self.write("}")

    def _items(
        self, value: Value, marks: tuple[str, str], items: Iterable[tuple[Value, Value]], verb: str, depth: int
    ) -> None:
        self.write(f"{type_name(value)}{{" if self._sharp_v else marks[0])
        for place, (key, inner) in enumerate(items):
            self.write((", " if self._sharp_v else " ") if place else "")
            if key is not None:
                self.value(key, verb, depth + 1)
                self.write(":")
            self.value(inner, verb, depth + 1)
        self.write("}" if self._sharp_v else marks[1])

    def _cut(self, text: str) -> str:
        return text if self._precision is None else text[: self._precision]

    def _string(self, text: str, verb: str, value: Value = None) -> None:
        if verb == "s" or (verb == "v" and not self._sharp_v):
            self._pad(self._cut(text), zero=self._zero)
        elif verb in "qv":
            text = self._cut(text)
            raw = self._sharp and verb == "q" and "`" not in text and all(c == "\t" or c.isprintable() for c in text)
            self._pad(f"`{text}`" if raw else quote(text, ascii_only=self._plus), zero=self._zero)
        elif verb in "xX":
            self._hexadecimal(text, verb)
        else:
            self._bad(text if value is None else value, verb)

    def _hexadecimal(self, text: str, verb: str) -> None:
        data = to_bytes(text)[: self._precision]
        prefix = _PREFIXES[verb] if self._sharp and data else ""
        shown = data.hex(" ") if self._space else data.hex()
        if verb == "X":
            shown = shown.upper()
        self._pad(prefix + (shown.replace(" ", f" {prefix}") if self._space else shown), zero=self._zero)

    def _integer(self, number: int, verb: str, value: Value = None) -> None:
        owner = number if value is None else value
        if verb in "cqU":
            self._character(number, verb)
        elif verb not in _DIGITS:
            self._bad(owner, verb)
        elif verb == "v" and self._sharp_v and isinstance(owner, Byte):
            self._sharp = True
            self._pad(self._signed(number, "x"))
            self._sharp = False
        elif self._precision == 0 and number == 0:
            self.write(" " * (self._width or 0))
        else:
            self._pad(self._signed(number, verb))

    def _signed(self, number: int, verb: str) -> str:
        sign = "-" if number < 0 else "+" if self._plus else " " if self._space else ""
        digits = f"{abs(number):{_DIGITS[verb]}}"
        if self._precision is not None:
            digits = digits.rjust(self._precision, "0")
        elif self._zero and self._width is not None:
            digits = digits.rjust(self._width - len(sign), "0")
        if self._sharp:
            octal = "0" if verb in "oO" and digits[0] != "0" else ""
            digits = _PREFIXES.get(verb, octal) + digits
        return sign + ("0o" if verb == "O" else "") + digits

    def _character(self, code: int, verb: str) -> None:
        valid = 0 <= code <= 0x10FFFF and not 0xD800 <= code < 0xE000
        mark = chr(code) if valid else "\ufffd"
        if verb == "c":
            self._pad(mark, zero=self._zero)
        elif verb == "q":
            self._pad(quote(mark, ascii_only=self._plus, delimiter="'"), zero=self._zero)
        else:
            text = f"U+{code % 2**64:0{max(4, self._precision or 0)}X}"
            self._pad(text + code_point(mark)[len(code_point(mark).split(" ")[0]) :] if self._sharp and valid else text)

    def _float(self, number: float, verb: str) -> None:
        if verb in "vgGxXb":
            shown = format_float(number, "g" if verb == "v" else verb, self._precision)
        elif verb in "eEfF":
            shown = format_float(number, verb, 6 if self._precision is None else self._precision)
        else:
            self._bad(number, verb)
            return
        sign, shown = (shown[0], shown[1:]) if shown[0] in "+-" else ("+", shown)
        if self._space and sign == "+" and not self._plus:
            sign = " "
        if shown in {"Inf", "NaN"}:
            self._pad(shown if shown == "NaN" and not self._space and not self._plus else sign + shown)
            return
        if self._sharp and verb != "b":
            shown = self._with_point(shown, verb)
        if sign == "+" and not self._plus:
            self._pad(shown, zero=self._zero)
        elif self._zero and (self._width or 0) > len(shown) + 1:
            self.write(sign + shown.rjust((self._width or 0) - 1, "0"))
        else:
            self._pad(sign + shown, zero=self._zero)

    def _with_point(self, shown: str, verb: str) -> str:
        """The sharp flag: always a decimal point, and for %g the zeros behind it."""
        wanted = (6 if self._precision is None else self._precision) if verb in "vgGx" else 0
        mark = {"x": "p", "X": "P"}.get(verb, "E" if verb.isupper() else "e")
        head, found, tail = shown.partition(mark)
        wanted -= len(head.replace(".", "").lstrip("0")) or 1
        return head + ("" if "." in head else ".") + "0" * max(wanted, 0) + found + tail

    def _complex(self, number: complex, verb: str) -> None:
        if verb not in "vbgGxXfFeE":
            self._bad(number, verb)
            return
        plus = self._plus
        self.write("(")
        self._float(number.real, verb)
        self._plus = True
        self._float(number.imag, verb)
        self.write("i)")
        self._plus = plus


_BASIC = frozenset({bool, int, float, complex, str, Byte})
_PLAIN = Directive("v")


def text(value: Value) -> str:
    """What {{ value }} prints."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return general(value)
    if value is None:
        return "<no value>"
    printer = _Printer(_PLAIN, None, None)
    if isinstance(value, Sample):
        printer.struct(value, "v")
    else:
        printer.value(value, "v")
    return "".join(printer.out)


def sprint(values: Sequence[Value]) -> str:
    """fmt.Sprint: a space between two operands of which none is a string."""
    printer = _Printer(_PLAIN, None, None)
    for place, value in enumerate(values):
        if place and not isinstance(value, str) and not isinstance(values[place - 1], str):
            printer.write(" ")
        printer.value(value, "v")
    return "".join(printer.out)


def sprintln(values: Sequence[Value]) -> str:
    printer = _Printer(_PLAIN, None, None)
    for place, value in enumerate(values):
        printer.write(" " if place else "")
        printer.value(value, "v")
    printer.write("\n")
    return "".join(printer.out)


class _Operands:
    """The operands of one Printf, and which is next."""

    def __init__(self, values: Sequence[Value]) -> None:
        self.values = values
        self.next = 0
        self.reordered = False
        self.good = True

    def move(self, index: int | None) -> None:
        """An explicit argument index like %[2]d, counted from 0; MISSING is one that is no number."""
        if index is None:
            return
        self.reordered = True
        if index != MISSING and 0 <= index < len(self.values):
            self.next = index
        else:
            self.good = False

    def number(self) -> int | None:
        """The operand of a *; None where it is no integer, or a huge one."""
        if self.next >= len(self.values):
            return None
        value = self.values[self.next]
        self.next += 1
        wrong = not isinstance(value, int) or isinstance(value, bool) or abs(value) > 1_000_000
        return None if wrong or not isinstance(value, int) else int(value)


def sprintf(form: str, values: Sequence[Value]) -> str:
    """fmt.Sprintf."""
    out, size, operands = [], 0, _Operands(values)
    for part in directives(form):
        shown = part if isinstance(part, str) else _print(part, operands)
        size += len(shown)
        if size > LONGEST:
            raise ExpansionError(f"a text is longer than {LONGEST} characters")
        out.append(shown)
    if not operands.reordered and operands.next < len(values):
        printer = _Printer(_PLAIN, None, None)
        for place, value in enumerate(values[operands.next :]):
            printer.write(", " if place else "%!(EXTRA ")
            if value is not None:
                printer.write(f"{type_name(value)}=")
            printer.value(value, "v")
        out += [*printer.out, ")"]
    return "".join(out)


def _print(directive: Directive, operands: _Operands) -> str:
    prefix = ""
    operands.good = not directive.misplaced
    operands.move(directive.first)
    width, precision = directive.width, directive.precision
    if width == STAR:
        width = operands.number()
        prefix += "" if width is not None else "%!(BADWIDTH)"
        if width is not None and width < 0:
            width, directive = -width, directive.to_the_left()
    operands.move(directive.second)
    if precision == STAR:
        precision = operands.number()
        precision = None if precision is not None and precision < 0 else precision
        prefix += "" if precision is not None else "%!(BADPREC)"
    operands.move(directive.third)
    verb = directive.verb
    if verb in {"", "%"}:
        return prefix + (verb or "%!(NOVERB)")
    if not operands.good:
        return f"{prefix}%!{verb}(BADINDEX)"
    if operands.next >= len(operands.values):
        return f"{prefix}%!{verb}(MISSING)"
    printer = _Printer(directive, width, precision)
    printer.value(operands.values[operands.next], verb)
    operands.next += 1
    return prefix + "".join(printer.out)
