"""How templates print: Go's fmt and the humanize functions, at values that are hard. Outputs are promtool's."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.labels import Labels
from rules.strconv import format_float, general, quote
from rules.templates import Template

LABELS = Labels({"__name__": "mm", "job": "pg"})


def expand(template: str, value: float = 7.0) -> str:
    return Template.parse(template).expand(LABELS, value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "-0"),
        (86400, "86400"),
        (999999.9, "999999.9"),
        (1e6, "1e+06"),
        (1048576, "1.048576e+06"),
        (-1234567.891, "-1.234567891e+06"),
        (1e-4, "0.0001"),
        (1.5e-5, "1.5e-05"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (9007199254740993, "9.007199254740992e+15"),
        (math.nan, "NaN"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
    ],
)
def test_bare_value(value: float, text: str) -> None:
    assert expand("{{ $value }}", float(value)) == text


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        ("humanize", 0, "0"),
        ("humanize", -0.0, "-0"),
        ("humanize", 0.5, "500m"),
        ("humanize", 1e-5, "10u"),
        ("humanize", 5e-324, "4.941e-300y"),
        ("humanize", 999.9999, "1000"),
        ("humanize", 1234567.891, "1.235M"),
        ("humanize", -1e30, "-1e+06Y"),
        ("humanize", math.nan, "NaN"),
        ("humanize1024", 1000, "1000"),
        ("humanize1024", 1024, "1ki"),
        ("humanize1024", 1234567.891, "1.177Mi"),
        ("humanize1024", 0.001, "0.001"),
        ("humanizeDuration", 0, "0s"),
        ("humanizeDuration", -0.0, "-0s"),
        ("humanizeDuration", 0.123456789, "123.5ms"),
        ("humanizeDuration", -0.001, "-1ms"),
        ("humanizeDuration", 59.99, "59.99s"),
        ("humanizeDuration", 61, "1m 1s"),
        ("humanizeDuration", 86400, "1d 0h 0m 0s"),
        ("humanizeDuration", -3661.25, "-1h 1m 1s"),
        ("humanizeDuration", 1e300, "-106751991167300d -15h -30m -8s"),
        ("humanizeDuration", math.inf, "+Inf"),
        ("humanizePercentage", 0.123456789, "12.35%"),
        ("humanizePercentage", 1000, "1e+05%"),
        ("humanizePercentage", math.nan, "NaN%"),
        ("humanizeTimestamp", 1435065584.128, "2015-06-23 13:19:44.128 +0000 UTC"),
        ("humanizeTimestamp", -1.5, "1969-12-31 23:59:58.5 +0000 UTC"),
        ("humanizeTimestamp", 99.99999, "1970-01-01 00:01:39.999 +0000 UTC"),
        ("humanizeTimestamp", math.nan, "NaN"),
    ],
)
def test_humanize(function: str, value: float, text: str) -> None:
    assert expand(f"{{{{ $value | {function} }}}}", float(value)) == text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        # floats
        ('"%8.1f|%-8.1f|%08.1f|%+.1f" -1.0 -1.0 -1.0 -1.0', "    -1.0|-1.0    |-00001.0|-1.0"),
        ('"%6.2f%%" 12.345', " 12.35%"),
        (
            '"%e %E %g %G %.3g %.0f" 1234567.0 1e-7 1e-7 1e-7 1234.5 2.5',
            "1.234567e+06 1.000000E-07 1e-07 1E-07 1.23e+03 2",
        ),
        ('"%#g %#.0f %#.3x" 2.5 2.0 1.0', "2.50000 2. 0x1.000p+00"),
        ('"%x %X %.1x %b" 1.5 -1.5 1.97 1.0', "0x1.8p+00 -0X1.8P+00 0x1.0p+01 4503599627370496p-52"),
        ('"% f|%+f|%06.1f|%-6.1f|" 1.0 1.0 -1.0 -1.0', " 1.000000|+1.000000|-001.0|-1.0  |"),
        # integers
        (
            '"%d %5d|%-5d|%05d|%+d|% d|%.3d|%x|%#X|%#o|%O|%b" 42 42 42 42 42 42 42 255 255 8 8 5',
            "42    42|42   |00042|+42| 42|042|ff|0XFF|010|0o10|101",
        ),
        ('"%c %q %U %#U" 97 97 97 97', "a 'a' U+0061 U+0061 'a'"),
        ('"%.0d|%5.0d|" 0 0', "|     |"),
        # strings
        (
            '"%s|%5s|%-5s|%.1s|%05s|%q|%x|% X|%#x" "ab" "ab" "ab" "ab" "ab" "a\\"b" "ab" "ab" "ab"',
            'ab|   ab|ab   |a|000ab|"a\\"b"|6162|61 62|0x6162',
        ),
        ('"%q %+q %#q" "é\\n\\u2028" "é" "a"', '"é\\n\\u2028" "\\u00e9" `a`'),
        ('"%t %v %T %T" true false 1 1.5', "true false int float64"),
        (
            '"%v %+v %#v" $labels $labels $labels',
            'map[__name__:mm job:pg] map[__name__:mm job:pg] map[string]string{"__name__":"mm", "job":"pg"}',
        ),
        # what does not fit
        ('"%d" 7.0', "%!d(float64=7)"),
        ('"%5d" 7.0', "%!d(float64=    7)"),
        ('"%s" 7', "%!s(int=7)"),
        ('"%f" "x"', "%!f(string=x)"),
        ('"%d" $labels', "map[%!d(string=__name__):%!d(string=mm) %!d(string=job):%!d(string=pg)]"),
        ('"%d" nil', "%!d(<nil>)"),
        ('"%z %!" 1 2', "%!z(int=1) %!!(int=2)"),
        ('"%s"', "%!s(MISSING)"),
        ('"%d %d" 1', "1 %!d(MISSING)"),
        ('"x" 1 "a" nil', "x%!(EXTRA int=1, string=a, <nil>)"),
        ('"%"', "%!(NOVERB)"),
        ('"100%"', "100%!(NOVERB)"),
        ('"%5.d" 3', "    3"),
        # widths and places that are operands
        ('"%*d|%-*d|%.*f" 5 42 5 42 2 3.14159', "   42|42   |3.14"),
        ('"%*d" -5 42', "42   "),
        ('"%*d" "a" 42', "%!(BADWIDTH)42"),
        ('"%.*f" 1.5 2.5', "%!(BADPREC)2.500000"),
        ('"%[2]d %[1]d" 1 2', "2 1"),
        ('"%[3]d %[x]d" 1 2', "%!d(BADINDEX) %!d(BADINDEX)"),
        ('"%[1]5d" 1', "%!d(BADINDEX)"),
        ('"%10000000d" 1', "%!(NOVERB)%!(EXTRA int=1)"),
    ],
)
def test_printf(arguments: str, text: str) -> None:
    assert expand(f"{{{{ printf {arguments} }}}}") == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_general_identifies_the_number(number: float) -> None:
    text = general(number)
    assert float(text) == number
    assert math.copysign(1, float(text)) == math.copysign(1, number)
    assert ("e" in text) == (number != 0 and not 1e-4 <= abs(number) < 1e6)


@given(st.floats(allow_nan=False, allow_infinity=False), st.none() | st.integers(0, 20))
def test_hexadecimal_rounds_to_the_nearest(number: float, precision: int | None) -> None:
    text = format_float(number, "x", precision)
    mantissa, _, power = text.partition("p")
    whole, _, fraction = mantissa.replace("0x", "").replace("-", "").partition(".")
    shown = Fraction(int(whole + fraction, 16), 16 ** len(fraction)) * Fraction(2) ** int(power)
    unit = Fraction(2) ** int(power) / 16 ** len(fraction)
    assert abs(shown - abs(Fraction(number))) * 2 <= (0 if precision is None else unit)


@given(st.text())
def test_quote_is_one_line_that_says_all(text: str) -> None:
    quoted = quote(text, ascii_only=True)
    assert quoted.isascii()
    assert quoted.isprintable()
    assert quoted[0] == quoted[-1] == '"'
    if "\\" not in text:
        assert quoted[1:-1].replace('\\"', '"').isascii()
