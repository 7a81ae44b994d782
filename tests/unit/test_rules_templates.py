"""Templates and number formats: outputs are those of promtool test rules 2.42."""

from __future__ import annotations

import math

import pytest

from rules import Labels, TemplateError
from rules.templates import Template

LABELS = Labels({"__name__": "mm", "instance": "db1:5432", "job": "pg"})


@pytest.mark.parametrize(
    ("template", "value", "text"),
    [
        ("no action", 1, "no action"),
        ("{{ $value }}", 0, "0"),
        ("{{ $value }}", 86400, "86400"),
        ("{{ $value }}", 1048576, "1.048576e+06"),
        ("{{$value}}", 1e-5, "1e-05"),
        ("{{ .Value }}", -3661.25, "-3661.25"),
        ("{{ $value }}", 100000.5, "100000.5"),
        ("{{ $value }}", 1e21, "1e+21"),
        ("{{ $value }}", math.nan, "NaN"),
        ("{{ $value }}", -math.inf, "-Inf"),
        ("{{ $labels.job }}/{{ .Labels.instance }}/{{ $labels.missing }}", 1, "pg/db1:5432/"),
        ("{{ $labels }}", 1, "map[__name__:mm instance:db1:5432 job:pg]"),
        ("a {{- ` b ` -}} c", 1, "a b c"),
        ("x{{/* a comment */}}y", 1, "xy"),
        ('{{ "}} \\"quoted\\"" }}', 1, '}} "quoted"'),
        ("{{ $value | humanize }}", 0, "0"),
        ("{{ $value | humanize }}", 0.5, "500m"),
        ("{{ $value | humanize }}", 1e-5, "10u"),
        ("{{ humanize $value }}", 1234567.891, "1.235M"),
        ("{{ $value | humanize }}", 999.9999, "1000"),
        ("{{ $value | humanize }}", 1e30, "1e+06Y"),
        ("{{ $value | humanize }}", math.inf, "+Inf"),
        ("{{ $value | humanize1024 }}", 1000, "1000"),
        ("{{ $value | humanize1024 }}", 1024, "1ki"),
        ("{{ $value | humanize1024 }}B", 1234567.891, "1.177MiB"),
        ("{{ $value | humanizeDuration }}", 0, "0s"),
        ("{{ $value | humanizeDuration }}", 0.123456789, "123.5ms"),
        ("{{ $value | humanizeDuration }}", 59.99, "59.99s"),
        ("{{ $value | humanizeDuration }}", 61, "1m 1s"),
        ("{{ $value | humanizeDuration }}", 3661, "1h 1m 1s"),
        ("{{ $value | humanizeDuration }}", 86400, "1d 0h 0m 0s"),
        ("{{ $value | humanizeDuration }}", -3661.25, "-1h 1m 1s"),
        ("{{ $value | humanizePercentage }}", 0.123456789, "12.35%"),
        ("{{ $value | humanizePercentage }}", 12.345, "1234%"),
        ("{{ $value | humanizePercentage }}", 1000, "1e+05%"),
        ("{{ $value | humanizeTimestamp }}", 1435065584.128, "2015-06-23 13:19:44.128 +0000 UTC"),
        ("{{ $value | humanizeTimestamp }}", -1, "1969-12-31 23:59:59 +0000 UTC"),
        ("{{ $value | humanizeTimestamp }}", 99.99999, "1970-01-01 00:01:39.999 +0000 UTC"),
        ('{{ $value | printf "%.2f" }}', 12.345, "12.35"),
        ('{{ printf "%.0f%% of %s" $value $labels.job }}', 12.5, "12% of pg"),
        ('{{ printf "%.4g" $value }}', 1234567.891, "1.235e+06"),
        ('{{ printf "%8.1f|%-8.1f|%08.1f|%+.1f" $value $value $value $value }}', -1, "    -1.0|-1.0    |-00001.0|-1.0"),
        (
            '{{ printf "%8.1f|%-8.1f|%08.1f|%+.1f" $value $value $value $value }}',
            math.nan,
            "     NaN|NaN     |     NaN|+NaN",
        ),
        ('{{ printf "%v %e" $value $value }}', 1e9, "1e+09 1.000000e+09"),
        ('{{ printf "%s" $value }}', 7, "%!s(float64=7)"),
        ('{{ printf "%s" (humanize $value) | printf "<%s>" }}', 1500, "<1.5k>"),
    ],
)
def test_output(template: str, value: float, text: str) -> None:
    assert Template.parse(template).expand(LABELS, float(value)) == text


@pytest.mark.parametrize(
    ("template", "value"), [("{{ $value | humanizeTimestamp }}", 1e15), ("a{{ $labels.job | humanize }}", 1)]
)
def test_an_error_becomes_text(template: str, value: float) -> None:
    text = Template.parse(template).expand(LABELS, value)
    assert text.startswith("<error expanding template: ")
    assert text.endswith(">")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ $value", "unclosed action"),
        ("{{ }}", "must be a value"),
        ("{{ $value $value }}", "must be a value"),
        ("{{ $value | }}", "must be a value"),
        ("{{ if $value }}x{{ end }}", "control structures such as {{ if }}"),
        ("{{ range query `up` }}{{ end }}", "control structures"),
        ("{{ $x := 1 }}", "not supported"),
        ("{{ $externalURL }}", "not supported"),
        ("{{ query `up` }}", 'function "query" not defined'),
        ("{{ $value | shout }}", 'function "shout" not defined'),
        ("{{ humanize }}", "wrong number of args"),
        ("{{ humanize $value $value }}", "wrong number of args"),
        ("{{ printf $labels.job }}", "format in quotes"),
        ('{{ printf "%d" $value }}', "%d is not supported"),
        ('{{ printf "%.1f" }}', "takes 1 arguments, it is given 0"),
        ('{{ printf "%.1" $value }}', "incomplete verb"),
        ("{{ ($value }}", "parenthesis"),
        ("{{ $value) }}", "unexpected"),
        ("{{ $value humanize }}", "start of a command"),
    ],
)
def test_refused_at_load(template: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template.parse(template)
    assert message in caught.value.message
