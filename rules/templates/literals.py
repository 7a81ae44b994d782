"""Go's literals, as strconv reads them: quoted strings, characters, numbers."""

from __future__ import annotations

import re

from rules.strconv import INT64_MAX, INT64_MIN, quote

_ESCAPE = re.compile(
    r"""\\(?:(?P<plain>[abfnrtv\\'"])|x(?P<x>[0-9a-fA-F]{2})|(?P<octal>[0-7]{3})|u(?P<u>[0-9a-fA-F]{4})
    |U(?P<long>[0-9a-fA-F]{8})|(?P<wrong>))""",
    re.VERBOSE,
)
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_UNDERSCORES = re.compile(
    r"""[+-]?(?:0[xXoObB](?:_?[0-9a-fA-F])*|(?:[0-9](?:_?[0-9])*)?)(?:\.(?:[0-9a-fA-F](?:_?[0-9a-fA-F])*)?)?
    (?:[eEpP][+-]?[0-9](?:_?[0-9])*)?""",
    re.VERBOSE,
)
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_HEXADECIMAL = re.compile(r"[+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?\d+", re.ASCII)
_WORD = re.compile(r"[+-]?inf(?:inity)?|nan", re.IGNORECASE)
_INTEGER = re.compile(r"([+-]?)(?:0[xX]([0-9a-fA-F]+)|0[oO]?([0-7]+)|0[bB]([01]+)|([1-9][0-9]*|0))")


def unquote(literal: str) -> str:
    """The text of "..." or `...`. Bytes that are no UTF-8 become lone surrogates. Raises ValueError."""
    if literal[0] == "`":
        return literal[1:-1].replace("\r", "")
    inner = literal[1:-1]
    return _unescaped(inner, literal[0]) if "\\" in inner else inner


def _unescaped(inner: str, delimiter: str) -> str:
    def plain(match: re.Match[str]) -> bytes:
        if match["plain"]:
            if match["plain"] in {"'", '"'} and match["plain"] != delimiter:
                raise ValueError("invalid syntax")
            return _PLAIN.get(match["plain"], match["plain"]).encode()
        if match["x"] or match["octal"]:
            code = int(match["x"], 16) if match["x"] else int(match["octal"], 8)
            if code > 255:
                raise ValueError("invalid syntax")
            return bytes([code])
        code = int(match["u"] or match["long"] or "110000", 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise ValueError("invalid syntax")
        return chr(code).encode()

    out, place = bytearray(), 0
    for match in _ESCAPE.finditer(inner):
        out += inner[place : match.start()].encode("utf-8", "surrogateescape") + plain(match)
        place = match.end()
    out += inner[place:].encode("utf-8", "surrogateescape")
    return out.decode("utf-8", "surrogateescape")


def parse_character(literal: str) -> int:
    """The code of '...'. Raises ValueError."""
    inner = literal[1:-1]
    if not inner:
        raise ValueError("invalid syntax")
    escape = _ESCAPE.match(inner)
    end = escape.end() if escape is not None else 1
    first = _unescaped(inner[:end], "'")
    if end < len(inner):
        raise ValueError(f"malformed character constant: {literal}")
    return ord(first) & 0xFF if first > "\ud7ff" and first < "\ue000" else ord(first)


def _without_underscores(text: str) -> str:
    return text.replace("_", "") if "_" in text and _UNDERSCORES.fullmatch(text) else text


def parse_float(text: str) -> float:
    """strconv.ParseFloat. Raises ValueError with Go's words."""
    plain = _without_underscores(text)
    try:
        if _DECIMAL.fullmatch(plain):
            number = float(plain)
        elif _HEXADECIMAL.fullmatch(plain):
            number = float.fromhex(plain)
        elif _WORD.fullmatch(plain):
            return float(plain)
        else:
            raise ValueError(f"strconv.ParseFloat: parsing {quote(text)}: invalid syntax")
    except OverflowError:
        number = float("inf")
    if number in {float("inf"), float("-inf")}:
        raise ValueError(f"strconv.ParseFloat: parsing {quote(text)}: value out of range")
    return number


def _parse_integer(text: str) -> int | None:
    plain = _without_underscores(text)
    match = _INTEGER.fullmatch(plain)
    if match is None or len(plain) > 70:
        return None
    digits, base = next((match[n], b) for n, b in ((2, 16), (3, 8), (4, 2), (5, 10)) if match[n] is not None)
    number = int(digits, base)
    number = -number if match[1] == "-" else number
    unsigned = not match[1] and number < 2**64
    return number if unsigned or INT64_MIN <= number <= INT64_MAX else None


def parse_number(text: str) -> tuple[int | float | complex, int | None]:
    """The value of a number by its own syntax, and its value as an integer where it has one. Raises ValueError."""
    if text[-1] == "i":
        return _parse_imaginary(text)
    integer = _parse_integer(text)
    if integer is not None:
        return integer, integer if integer <= INT64_MAX else None
    try:
        number = parse_float(text)
    except ValueError as error:
        raise ValueError(f"illegal number syntax: {quote(text)}") from error
    if not any(mark in text for mark in ".eEpP"):
        raise ValueError(f"integer overflow: {quote(text)}")
    return number, int(number) if number.is_integer() and abs(number) < 2**63 else None


def _parse_imaginary(text: str) -> tuple[complex, None]:
    cut = max(text.rfind("+", 1), text.rfind("-", 1))
    while cut > 0 and text[cut - 1] in "eEpP" and text[:2].lower() != "0x":
        cut = max(text.rfind("+", 1, cut), text.rfind("-", 1, cut))
    try:
        real = parse_float(text[:cut]) if cut > 0 else 0.0
        return complex(real, parse_float(text[max(cut, 0) : -1])), None
    except ValueError as error:
        raise ValueError(f"illegal number syntax: {quote(text)}") from error
