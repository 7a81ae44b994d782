"""Prometheus's own promtool as the judge of templates: what it expands, and what it refuses to load."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest
import yaml

from rules.errors import TemplateError
from rules.labels import Labels
from rules.templates import Context, Template

PROMTOOL = shutil.which("promtool")
pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian package prometheus)"),
]

VALUES = (
    *(
        "0",
        "-0",
        "1",
        "7",
        "-7",
        "0.5",
        "2.5",
        "1e-5",
        "1e-4",
        "5e-324",
        "2.2250738585072014e-308",
        "NaN",
        "+Inf",
        "-Inf",
    ),
    *("1e300", "-1e300", "1.7976931348623157e308", "999999.9", "1000000", "123456", "1234567.891", "99.995", "0.99995"),
    *("-3661.25", "86400", "59.9999", "60", "1023.99999", "1e15", "1e21", "9.3e18", "-9.3e18", "9223372036.9", "1e-26"),
    *("1435065584.128", "-1.5", "9007199254740993", "1e27"),
)
# one template for many values
NUMBERS = (
    "{{ $value }} {{ .Value }} {{ print $value }}",
    "{{ humanize $value }} {{ humanize1024 $value }} {{ $value | humanizePercentage }}",
    "{{ humanizeDuration $value }}",
    "{{ humanizeTimestamp $value }}",
    '{{ (toTime $value).Format "Jan _2 06 3:04:05.000 PM Mon MST -0700 Z07:00 002 January Monday .999 20066" }}',
    "{{ if $value }}true{{ else }}false{{ end }} {{ gt $value 1.0 }} {{ eq $value $value }} {{ le $value 0.5 }}",
    "{{ with $value }}{{ . | printf `%.3e` }}{{ else }}zero{{ end }}",
    *(
        "{{ " + " }}|{{ ".join(f'printf "{verb}" $value' for verb in verbs) + " }}"
        for verbs in (
            ("%v", "%g", "%G", "%e", "%E", "%f", "%F", "%x", "%X", "%b", "%#v", "%#g", "%#x", "%#.0f", "%+v", "% g"),
            ("%.0g", "%.3g", "%.17g", "%.0e", "%.0f", "%.2f", "%.20f", "%.x", "%.1x", "%.13x", "%.16x", "%.3v"),
            ("%10.2f|", "%-10.2f|", "%010.2f|", "%-010.2f|", "%+010.2f|", "% 010.2f|", "%06v", "%20.3x", "%020x"),
            ("%d", "%5d", "%s", "%10s", "%q", "%t", "%c", "%U", "%T", "%p", "%o", "%5.1d", "%w", "%z", "%!", "%5."),
        )
    ),
)
ARGUMENTS = (
    *('"abc"', '"é\\x00\\u2028`\\"\\n"', '""', "42", "-42", "0", "true", "nil", "$labels", '(index "az" 0)', "1i", "."),
    *("(toTime 1e9).Month", "((toTime 5).Sub (toTime 1.5))", '(args 1 "b" nil 2.5)', '(safeHtml "<x>")', "1114112"),
)
VERBS = "vdsqxXtcUobeg"
FLAGS = ("", "+", "-", "#", "0", " ", "+#", "#0", " #")
SIZES = ("", "8", ".2", "8.3", "-8")
FORMATS = (
    *("%", "%%", "%5", "%5.", "%.", "%!", "%5%", "%-", "%[1]d", "%[2]d %[1]d", "%[3]d", "%[x]d", "%[", "%[1]*d", "%*d"),
    *("%-*d|", "%*.*f", "%.*f", "%[1]5d", "%[3]*.[2]*[1]f", "%d %d", "x", "%d %s %v more", "%99999999d", "%é", "%w"),
)
LANGUAGE = (
    "{{ $labels }}{{ $labels.job }}{{ .Labels.nope }}{{ $externalLabels }}{{ $externalURL }}{{ . }}",
    "a {{- ` b ` -}} c{{/* c */ -}} d {{- /* e */}}{{3 -}} f",
    "{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $x := 3 }}{{ end }}{{ $x }}",
    "{{ $x = 1 }}",
    '{{ if eq $labels.job "pg" "x" }}1{{ else if 1 }}2{{ end }}{{ if or 0 "" nil .Labels.nope }}3{{ else }}4{{ end }}',
    "{{ and 1 0 2 }}{{ or 0 nil 3 }}{{ not 0 }}{{ and 0 (index 1 1) }}{{ 1 | or 0 }}",
    "{{ range $i, $v := $labels }}{{ $i }}={{ $v }};{{ end }}{{ range .Labels }}{{ . }}{{ break }}{{ end }}",
    '{{ range $i, $s := query "m2" | sortByLabel "a" }}{{ $i }}{{ $s.Labels.a }}={{ .Value }},{{ continue }}x{{ end }}',
    '{{ range query "nope" }}x{{ else }}none{{ end }}',
    # sorted, as the order of a query's answer is the storage's
    '{{ with query "m2" | sortByLabel "a" }}{{ . | first | value }}{{ end }}',
    '{{ define "x" }}[{{ . }}{{ .Foo.Bar }}]{{ end }}{{ template "x" }}{{ block "y" .Value }}{{ $ }}{{ end }}',
    '{{ define "x" }}{{ .a.b }}{{ end }}\n\né{{ template "x" $value }}',
    '{{ template "x" $labels }}',
    '{{ slice "abcdef" 1 3 }}{{ slice "abc" 2 1 }}',
    '{{ index $labels "job" }}{{ index "abc" 1 }}{{ index "abc" 3 }}',
    '{{ len $labels }}{{ len "é" }}{{ len 3 }}',
    "{{ print 1 2 `a` 3 4 }}|{{ println 1 `a` }}|{{ html `<a>'\"&` }}|{{ js `<a b='\"\\é&=` }}|{{ urlquery `a b&é` }}",
    '{{ reReplaceAll "(.*):(.*)" "$2-${1}x$1x$$" $labels.instance }}{{ reReplaceAll "a*" "x" "baac" }}',
    '{{ match "a.c" "xabcx" }}{{ match "^b" "ab" }}{{ match "(" "a" }}',
    *(
        f'{{{{ reReplaceAll "{wrong}" "" "" }}}}'
        for wrong in ("(", "*", "a**", "[z-a]", "\\\\q", "[a", "a)", "(?=a)", "a{2000}")
    ),
    '{{ "foo bar-baz x_y" | title }}{{ toUpper "aßŉéǆ" }}{{ toLower "AÉİ" }}{{ safeHtml "<b>" }}',
    '{{ stripPort "a:b" }} {{ stripPort "[::1]:90" }} {{ stripPort "::1" }} {{ stripDomain "a.b.c:1" }}',
    '{{ graphLink "up{a=\\"b\\"} > 1" }} {{ tableLink "up" }}',
    '{{ parseDuration "1h30m" }} {{ parseDuration "5ms" }} {{ parseDuration "x" }}',
    '{{ parseDuration "300y" }}',
    '{{ "1_000.5" | humanize }}{{ "0x1p4" | humanize }}{{ "inf" | humanize }}{{ "1e400" | humanize }}',
    "{{ (toTime 1e9).Weekday }} {{ ((toTime 90).Sub (toTime 0)).Minutes }} {{ (toTime 1).Foo }}",
    "{{ 1.50 }} {{ 1e3 }} {{ 'a' }} {{ 0x1F }} {{ 017 }} {{ 1_000 }} {{ 1i }} {{ -0.0 }} {{ 18446744073709551615 }}",
    '{{ "\\u00e9\\x41\\101" }}{{ `\\n` }}',
    "{{ $value.foo }}",
    "{{ .Foo }}",
    "{{ $labels.job.x }}",
    "{{ $labels.job 1 }}",
    "{{ .Value 1 }}",
    "{{ $value 1 }}",
    "{{ nil }}",
    "{{ 1 | $value }}",
    "{{ (args 1).zz }}{{ (args 1 `b`).arg1 }}",
    "{{ call $value }}",
    "{{ range $value }}{{ end }}",
    "{{ query 5 }}",
    "{{ query $value }}",
    "{{ query }}",
    "{{ humanize 1 2 }}",
    "{{ printf }}",
    "{{ print }}",
    "{{ first nil }}",
    "{{ toUpper (safeHtml `a`) }}",
    "{{ humanize true }}",
    "{{ humanize nil }}",
    "{{ title nil }}",
    "{{ humanize $labels.job }}",
)
COMPARED = ("$labels", "nil", "1", "1.0", '"a"', "true", '(query "nope")', ".", '(index "a" 0)', "97", '(safeHtml "a")')
REFUSED = (
    "{{ $value",
    "{{ }}",
    "{{ $value | }}",
    "{{ $value | 1 }}",
    "{{ if }}{{ end }}",
    "{{ if 1 }}",
    "{{ end }}",
    "{{ else }}",
    "{{ $y }}",
    "{{ if 1 }}{{ $y := 1 }}{{ end }}{{ $y }}",
    "{{ define `x` }}{{ $value }}{{ end }}",
    "{{ shout }}",
    "{{ (1 }}",
    "{{ 1) }}",
    "{{ 1.x }}",
    "{{ `a`.b }}",
    "{{ 1e999 }}",
    "{{ 99999999999999999999 }}",
    "{{ 089 }}",
    "{{ 0x }}",
    "{{ 1__0 }}",
    '{{ "\\q" }}',
    '{{ "a }}',
    "{{ `a }}",
    "{{ 'ab' }}",
    "{{ '' }}",
    "{{ break }}",
    "{{ $a, $b := 1 }}",
    "{{ range $a, 1 }}{{ end }}",
    "{{ range $i, $v := . }}{{ $v }}{{ end }}",
    "{{ template x }}",
    "{{ template `x` }}",
    "{{ block `x` }}{{ end }}",
    "{{/* x",
    "{{/* x */ }}",
    "{{ define `x` }}a{{ end }}{{ define `x` }}b{{ end }}",
    "{{ € }}",
    "{{ $x=1 }}",
    "{{ $x :1 }}",
    "{{ 1 2 }}",
    "{{ . . }}",
    "{{ $ }}",
    "{{ .. }}",
    "{{ .é }}",
    "{{ ²}}",
    "{{ a.b }}",
    "{{ ().x }}",
    "{{ (1).x }}",
    "{{ nil.x }}",
    "{{ % }}",
    "{{ if 1 }}{{ else }}{{ else }}{{ end }}",
    "{{ range . }}{{ else }}{{ continue }}{{ end }}",
    "a\nb {{ 1\n\n",
    "{{\n1\n}}{{ x }}",
    "{{- 1 -}}",
    "{{-1}}",
    "{{ 1-}}",
    "{{ 1 - }}",
    "}}",
    "{",
    "{{{ 1 }}",
    "{{ 1 }}}",
    "{{ define `a` }}{{ define `b` }}{{ end }}{{ end }}",
)


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)


def cases() -> list[tuple[str, str]]:
    """Templates and the values they are given."""
    seven = [
        f"{{{{ printf `%{flag}{size}{verb}` {one} }}}}"
        for one, verb, (flag, size) in product(ARGUMENTS, VERBS, _both())
    ]
    seven += [f"{{{{ printf `{form}` {ones} }}}}" for form, ones in product(FORMATS, ("", "1", "5 1.5 2", "2 3 nil 1"))]
    seven += [f"{{{{ {name} {a} {b} }}}}" for name, a, b in product(("eq", "lt", "ge", "index"), COMPARED, COMPARED)]
    seven += LANGUAGE
    return [*product(NUMBERS, VALUES), *((template, "7") for template in seven)]


def _both() -> list[tuple[str, str]]:
    """Some pairs of flags and sizes, every one of both."""
    pairs = [(flag, SIZES[place % len(SIZES)]) for place, flag in enumerate(FLAGS)]
    return [pair for pair in pairs if not (pair[0].startswith("-") and pair[1].startswith("-"))]


def query(expression: str) -> list[tuple[Labels, float]]:
    xb = [(Labels({"__name__": "m2", "a": "x"}), 1.0), (Labels({"__name__": "m2", "a": "b"}), 2.5)]
    return xb if expression == "m2" else []


CONTEXT = Context({"cluster": "c1"}, "http://prom.example:9090/p/q", query)


def rule_file(path: Path, templates: Sequence[str], expressions: Sequence[str]) -> None:
    rules = [
        {"alert": f"T{place}", "expr": expression, "annotations": {"a": template}}
        for place, (template, expression) in enumerate(zip(templates, expressions, strict=True))
    ]
    path.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}, allow_unicode=True, width=10**6))


def test_what_templates_print(tmp_path: Path) -> None:
    all_cases = cases()
    values = list(dict.fromkeys(value for _, value in all_cases))
    rule_file(
        tmp_path / "r.yml",
        [template for template, _ in all_cases],
        [f'mm{{i="{values.index(v)}"}}' for _, v in all_cases],
    )
    expected = []
    for place, (template, value) in enumerate(all_cases):
        labels = {"i": str(values.index(value)), "instance": "db1:5432", "job": "pg"}
        text = Template.parse(template, f"__alert_T{place}").expand(
            Labels({"__name__": "mm", **labels}), float(value), CONTEXT
        )
        alert = {"exp_labels": labels, "exp_annotations": {"a": text}}
        expected.append({"eval_time": "0m", "alertname": f"T{place}", "exp_alerts": [alert]})
    series = [
        {"series": f'mm{{i="{place}",instance="db1:5432",job="pg"}}', "values": value}
        for place, value in enumerate(values)
    ]
    series += [{"series": 'm2{a="x"}', "values": "1"}, {"series": 'm2{a="b"}', "values": "2.5"}]
    outside = {"external_labels": dict(CONTEXT.external_labels), "external_url": CONTEXT.external_url}
    test = {"interval": "1m", "input_series": series, "alert_rule_test": expected, **outside}
    document = {"rule_files": ["r.yml"], "tests": [test]}
    (tmp_path / "t.yml").write_text(yaml.safe_dump(document, allow_unicode=True, width=10**6))
    assert len(all_cases) > 2500
    result = promtool("test", "rules", tmp_path / "t.yml")
    assert result.returncode == 0, (result.stdout + result.stderr)[:5000]


def test_what_templates_are_refused(tmp_path: Path) -> None:
    rule_file(tmp_path / "r.yml", REFUSED, ["up"] * len(REFUSED))
    said = promtool("check", "rules", tmp_path / "r.yml")
    theirs = dict(re.findall(r'"T(\d+)": annotation "a": (.*)', said.stdout + said.stderr))
    ours = {}
    for place, template in enumerate(REFUSED):
        try:
            Template.parse(template, f"__alert_T{place}")
        except TemplateError as error:
            ours[str(place)] = error.message
    assert len(theirs) > 40
    assert ours == theirs
