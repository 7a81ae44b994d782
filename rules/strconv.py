"""Numbers and quoted strings as Go's strconv and fmt write them, and with them Prometheus."""

from __future__ import annotations

import math
from decimal import Decimal

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\"}


def general(number: float) -> str:
    """Go's %v of a float64: the fewest digits that identify it, with an exponent below 1e-4 and from 1e6 on."""
    if 1e-4 <= abs(number) < 1e6 or number == 0:
        text = repr(number)
        return text.removesuffix(".0")
    if not math.isfinite(number):
        return special(number)
    mantissa, _, exponent = repr(abs(number)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    power = int(exponent or 0) + (len(whole) - 1 if whole != "0" else len(digits) - len(fraction) - 1)
    digits = digits.rstrip("0")
    point = "." if len(digits) > 1 else ""
    return f"{'-' if number < 0 else ''}{digits[0]}{point}{digits[1:]}e{power:+03d}"


def positional(number: float) -> str:
    """The fewest digits that identify the number, without exponent: FormatFloat(number, 'f', -1, 64)."""
    return f"{Decimal(repr(number)).normalize():f}" if math.isfinite(number) else special(number)


def exponential(number: float) -> str:
    """The fewest digits that identify the number, with exponent: FormatFloat(number, 'e', -1, 64)."""
    if not math.isfinite(number):
        return special(number)
    digits = len(Decimal(repr(number)).normalize().as_tuple().digits)
    return f"{number:.{digits - 1}e}"


def special(number: float) -> str:
    return "NaN" if math.isnan(number) else "+Inf" if number > 0 else "-Inf"


def four_digits(number: float) -> str:
    """Go's %.4g."""
    return f"{number:.4g}" if math.isfinite(number) else special(number)


def format_float(number: float, verb: str, precision: int | None) -> str:
    """strconv.FormatFloat for the verbs e f g b x and their capitals; None is as many digits as identify the number."""
    if not math.isfinite(number):
        return special(number)
    lower = verb.lower()
    if lower == "x":
        text = _hexadecimal(number, precision)
    elif lower == "b":
        text = _binary(number)
    elif precision is None:
        text = general(number)
    else:
        text = f"{number:.{precision}{lower}}"
    return text.upper() if verb.isupper() and verb != "F" else text


def _binary(number: float) -> str:
    mantissa, exponent = math.frexp(abs(number))
    power = max(exponent - 53, -1074) if number else -1074
    return f"{'-' if math.copysign(1, number) < 0 else ''}{int(math.ldexp(mantissa, exponent - power))}p{power:+d}"


def _hexadecimal(number: float, precision: int | None) -> str:
    """-0x1.8p+01, with `precision` hexadecimal digits after the point, rounded half to even."""
    fraction, power = math.frexp(abs(number))
    mantissa, power = (int(fraction * 2**53), power - 1) if number else (0, 0)  # 1 bit before the point, 52 after it
    if precision is not None and precision < 13:
        cut = 4 * (13 - precision)
        kept, rest = mantissa >> cut, mantissa & ((1 << cut) - 1)
        half = 1 << (cut - 1)
        kept += rest > half or (rest == half and kept & 1)
        mantissa = kept << cut
        if mantissa >= 1 << 53:
            mantissa, power = mantissa >> 1, power + 1
    digits = f"{mantissa & ((1 << 52) - 1):013x}"
    digits = digits.rstrip("0") if precision is None else digits[:precision].ljust(precision, "0")
    sign = "-" if math.copysign(1, number) < 0 else ""
    return f"{sign}0x{mantissa >> 52}{'.' if digits else ''}{digits}p{power:+03d}"


def quote(text: str, *, ascii_only: bool = False, delimiter: str = '"') -> str:
    """strconv.Quote. A lone surrogate is a byte that is no UTF-8."""
    if text.isascii() and text.isprintable() and "\\" not in text and delimiter not in text:
        return f"{delimiter}{text}{delimiter}"
    return delimiter + "".join(_escaped(mark, ascii_only, delimiter) for mark in text) + delimiter


def _escaped(mark: str, ascii_only: bool, delimiter: str) -> str:
    code = ord(mark)
    if mark == delimiter:
        return "\\" + mark
    if mark in _ESCAPES:
        return _ESCAPES[mark]
    if mark.isprintable() and (code < 128 or not ascii_only):
        return mark
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 128 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def code_point(mark: str) -> str:
    """Go's %#U: U+0061 'a'."""
    return f"U+{ord(mark):04X}" + (f" '{mark}'" if mark.isprintable() else "") if mark else "U+FFFFFFFFFFFFFFFF"


def to_bytes(text: str) -> bytes:
    """The bytes that a string has in Go, where lone surrogates stand for those that are no UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def from_bytes(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def to_int64(number: float) -> int:
    """Go's int64(float64) on amd64: towards zero; what does not fit becomes the smallest number."""
    return int(number) if -(2.0**63) <= number < 2.0**63 else INT64_MIN
