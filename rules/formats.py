"""Numbers as Prometheus's templates print them: Go's fmt, and the humanize functions of template/template.go."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from rules.errors import TemplateError

Value = float | str


def general(number: float) -> str:
    """Go's %v of a float64: the fewest digits that identify it, with an exponent below 1e-4 and from 1e6 on."""
    if not math.isfinite(number):
        return _special(number)
    decimal = Decimal(repr(number)).normalize()
    power = decimal.adjusted()
    if -4 <= power < 6 or not number:
        return f"{decimal:f}"
    digits = "".join(map(str, decimal.as_tuple().digits))
    mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    return f"{'-' if number < 0 else ''}{mantissa}e{power:+03d}"


def _special(number: float) -> str:
    return "NaN" if math.isnan(number) else "+Inf" if number > 0 else "-Inf"


def _four(number: float) -> str:
    """Go's %.4g."""
    return f"{number:.4g}" if math.isfinite(number) else _special(number)


def text(value: Value) -> str:
    return general(value) if isinstance(value, float) else value


def _number(value: Value) -> float:
    if isinstance(value, float):
        return value
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(?i:inf|infinity)|(?i:nan)", value):
        return float(value)
    raise TemplateError(f'strconv.ParseFloat: parsing "{value}": invalid syntax')


_LARGE = ("k", "M", "G", "T", "P", "E", "Z", "Y")
_SMALL = ("m", "u", "n", "p", "f", "a", "z", "y")


def _scaled(number: float, base: float, prefixes: Sequence[str]) -> str:
    prefix = ""
    for larger in prefixes:
        if abs(number) < base:
            break
        prefix, number = larger, number / base
    return _four(number) + prefix


def _shrunk(number: float) -> str:
    prefix = ""
    for smaller in _SMALL:
        if abs(number) >= 1:
            break
        prefix, number = smaller, number * 1000
    return _four(number) + prefix


def humanize(value: Value) -> str:
    number = _number(value)
    if number == 0 or not math.isfinite(number):
        return _four(number)
    return _scaled(number, 1000, _LARGE) if abs(number) >= 1 else _shrunk(number)


def humanize1024(value: Value) -> str:
    number = _number(value)
    if abs(number) <= 1 or not math.isfinite(number):
        return _four(number)
    return _scaled(number, 1024, [f"{prefix}i" for prefix in _LARGE])


def humanize_duration(value: Value) -> str:
    """Seconds as 1d 2h 3m 4s; below a minute with four significant digits."""
    number = _number(value)
    if not math.isfinite(number):
        return _four(number)
    if number == 0:
        return "0s"
    if abs(number) < 1:
        return _shrunk(number) + "s"
    sign, whole = "-" if number < 0 else "", int(abs(number))
    if whole < 60:
        return f"{_four(number)}s"
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {seconds}s"
    return f"{sign}{hours}h {minutes}m {seconds}s" if hours else f"{sign}{minutes}m {seconds}s"


def humanize_percentage(value: Value) -> str:
    """A ratio as a percentage."""
    return _four(_number(value) * 100) + "%"


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def humanize_timestamp(value: Value) -> str:
    """Unix seconds as UTC, in Go's notation, cut to milliseconds."""
    number = _number(value)
    if not math.isfinite(number):
        return _four(number)
    if abs(number * 1e9) >= 2**63:
        raise TemplateError(
            f"{general(number)} cannot be represented as a nanoseconds timestamp since it overflows int64"
        )
    moment = _EPOCH + timedelta(milliseconds=int(number * 1000))
    fraction = f".{moment.microsecond // 1000:03d}".rstrip("0").rstrip(".")
    return f"{moment:%Y-%m-%d %H:%M:%S}{fraction} +0000 UTC"


_VERB = re.compile(r"%(?:%|(?P<flags>[-+0 ]*)(?P<width>\d+)?(?:\.(?P<digits>\d+))?(?P<verb>[a-zA-Z]))")


def check_format(template: str, arguments: int) -> None:
    """Raises TemplateError where `printf` would not do what it says, or we could not."""
    if "%" in _VERB.sub("", template):
        raise TemplateError(f"printf: incomplete verb in {template!r}")
    verbs = [match["verb"] for match in _VERB.finditer(template) if match["verb"]]
    for verb in verbs:
        if verb not in "efgvs":
            raise TemplateError(f"printf: the verb %{verb} is not supported; use %f, %e, %g, %v or %s")
    if len(verbs) != arguments:
        raise TemplateError(f"printf: {template!r} takes {len(verbs)} arguments, it is given {arguments}")


def printf(template: str, values: Sequence[Value]) -> str:
    """Go's fmt.Sprintf for the verbs that `check_format` lets pass."""
    rest = iter(values)
    return _VERB.sub(lambda match: _print(match, next(rest)) if match["verb"] else "%", template)


def _print(match: re.Match[str], value: Value) -> str:
    verb, flags, width = match["verb"], match["flags"], int(match["width"] or 0)
    if isinstance(value, str):
        shown = value if verb in "vs" else f"%!{verb}(string={value})"
        return shown.ljust(width) if "-" in flags else shown.rjust(width)
    if verb == "s":
        return f"%!s(float64={general(value)})"
    shown = _print_number(verb, match["digits"], abs(value))
    negative = math.copysign(1, value) < 0 and not math.isnan(value)
    sign = "-" if negative else "+" if "+" in flags else " " if " " in flags else ""
    if not math.isfinite(value):
        sign, flags = sign or ("+" if math.isinf(value) else ""), flags.replace("0", "")
    if "-" in flags:
        return (sign + shown).ljust(width)
    return sign + shown.rjust(width - len(sign), "0") if "0" in flags else (sign + shown).rjust(width)


def _print_number(verb: str, digits: str | None, number: float) -> str:
    if not math.isfinite(number):
        return _special(number).lstrip("+")
    if verb in "gv":
        return general(number) if digits is None else f"{number:.{int(digits)}g}"
    return f"{number:.{6 if digits is None else int(digits)}{verb}}"
