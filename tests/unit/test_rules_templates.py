"""Templates: what they print and what they refuse. Outputs are those of promtool 2.42 where it knows the feature."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from rules.errors import QueryError, TemplateError
from rules.labels import Labels
from rules.templates import Context, Template

LABELS = Labels({"__name__": "mm", "instance": "db1:5432", "job": "pg"})
VECTORS = Path(__file__).parents[2] / "../shared/conformance/template-vectors.json"


def query(expression: str) -> list[tuple[Labels, float]]:
    answers = {
        "m2": [(Labels({"__name__": "m2", "a": "x"}), 1.0), (Labels({"__name__": "m2", "a": "b"}), 2.5)],
        "sum(m2)": [(Labels(), 3.5)],
        "nope": [],
    }
    if expression not in answers:
        raise QueryError("1:5: parse error: unexpected end of input")
    return answers[expression]


CONTEXT = Context({"cluster": "c1"}, "http://prom.example/p", query, now=1700000000.5)


def expand(template: str, value: float = 7.0) -> str:
    return Template.parse(template, "__alert_A").expand(LABELS, value, CONTEXT)


@pytest.mark.skipif(not VECTORS.exists(), reason="the conformance data are not here")
def test_conformance_vectors() -> None:
    wrong = []
    vectors = json.loads(VECTORS.read_text())
    for vector in vectors:
        named = re.search(r"error executing template (\S+):", vector["out"])
        template = Template.parse(vector["tmpl"], named[1] if named else "annotation")
        text = template.expand(LABELS, float(vector["value"]), CONTEXT)
        if text != vector["out"]:
            wrong.append((vector, text))
    assert len(vectors) > 400
    assert not wrong


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("no action", "no action"),
        ("{{ $labels.job }}/{{ .Labels.instance }}/{{ $labels.missing }}", "pg/db1:5432/"),
        ("{{ $labels }}", "map[__name__:mm instance:db1:5432 job:pg]"),
        ("{{ .Value }} {{ $.Value }} {{ $value }}", "7 7 7"),
        (
            "{{ $externalLabels }}{{ .ExternalLabels.cluster }} {{ $externalURL }} {{ .ExternalURL }}",
            "map[cluster:c1]c1 http://prom.example/p http://prom.example/p",
        ),
        ("{{ . }}", "{map[__name__:mm instance:db1:5432 job:pg] map[cluster:c1] http://prom.example/p 7}"),
        # texts, comments, trimming
        ("a {{- ` b ` -}} c", "a b c"),
        ("a {{-\n1 -}}\n c", "a1c"),
        ("{{3 -}} x {{- -3}}", "3x-3"),
        ("x{{/* a {{ comment }} */}}y", "xy"),
        ("x {{- /* c */ -}} y", "xy"),
        ('{{ "}} \\"quoted\\" \\u00e9\\x41\\101\\n" }}', '}} "quoted" éAA\n'),
        ("{{\n$value\n| print\n}}", "7"),
        ("}} { {{ 1 }}", "}} { 1"),
        # literals
        (
            "{{ 1.50 }} {{ 3 }} {{ 1e3 }} {{ true }} {{ 'a' }} {{ 0x1F }} {{ 0b11 }} {{ 017 }} {{ 1_000 }} {{ -0 }}",
            "1.5 3 1000 true 97 31 3 15 1000 0",
        ),
        ("{{ 1i }} {{ 1+2i }} {{ .5 }} {{ -0.0 }} {{ 0x1p4 }}", "(0+1i) (1+2i) 0.5 -0 16"),
        # pipelines, parentheses, variables
        ('{{ printf "%s" (humanize 1500 | printf "<%s>") }}', "<1.5k>"),
        ('{{ "a" | printf "%s-%s" "b" }}', "b-a"),
        ('{{ $a := "x" }}{{ $a }}{{ $a = "y" }}{{ $a }}', "xy"),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $x := 3 }}{{ end }}{{ $x }}", "2"),
        ("{{ $x := 1 }}{{ $x := $x | print | len }}{{ $x }}", "1"),
        ("{{ $x := ($y := 5) }}{{ $x }}{{ $y }}", "55"),
        (
            "{{ (args 1 `b`).arg1 }} {{ args 1 `b` nil }} {{ (args 1).nope }}",
            "b map[arg0:1 arg1:b arg2:<nil>] <no value>",
        ),
        # if, with
        ('{{ if eq $labels.job "pg" }}same{{ end }}', "same"),
        ("{{ if gt $value 10.0 }}high{{ else if gt $value 5.0 }}middle{{ else }}low{{ end }}", "middle"),
        ("{{ if or (lt $value 1.0) 0 0.0 `` false nil $labels.missing }}yes{{ else }}no{{ end }}", "no"),
        ("{{ with $x := $value }}[{{ . }}{{ $x }}{{ $.Value }}]{{ end }}", "[777]"),
        ("{{ with $labels.missing }}{{ . }}{{ else with $labels.job }}{{ . }}{{ else }}none{{ end }}", "pg"),
        ("{{ with 0 }}x{{ else }}{{ .Value }}{{ end }}", "7"),
        # range
        ("{{ range $i, $v := $labels }}{{ $i }}={{ $v }};{{ end }}", "__name__=mm;instance=db1:5432;job=pg;"),
        ("{{ range $labels }}{{ . }},{{ end }}", "mm,db1:5432,pg,"),
        ('{{ range $i, $s := query "m2" }}{{ $i }}{{ .Labels.a }}{{ $s.Value }};{{ end }}', "0x1;1b2.5;"),
        ('{{ range query "nope" }}x{{ else }}none{{ end }}', "none"),
        (
            "{{ range 3 }}{{ . }}{{ end }}{{ range $i := 2 }}{{ $i }}{{ end }}{{ range 0 }}x{{ else }}-{{ end }}",
            "01201-",
        ),
        (
            "{{ range 9 }}{{ if eq . 1 }}{{ continue }}{{ end }}{{ if eq . 3 }}{{ break }}{{ end }}{{ . }}{{ end }}",
            "02",
        ),
        ("{{ range 2 }}{{ range 3 }}{{ break }}{{ end }}{{ . }}{{ end }}", "01"),
        ("{{ $k := 0 }}{{ $v := 0 }}{{ range $k, $v = $labels }}{{ end }}{{ $k }}={{ $v }}", "job=pg"),
        ("{{ range $labels }}{{ $x := . }}{{ end }}{{ range args 1 2.5 }}{{ . }} {{ end }}", "1 2.5 "),
        # templates
        ('{{ define "x" }}[{{ . }}]{{ end }}{{ template "x" }}{{ template "x" $labels.job }}', "[<no value>][pg]"),
        ('{{ block "b" .Value }}<{{ . }}{{ $ }}>{{ end }}', "<77>"),
        ('{{ template "y" . }}{{ define "y" }}{{ template "z" .Value }}{{ end }}{{ define "z" }}{{ . }}{{ end }}', "7"),
    ],
)
def test_language(template: str, text: str) -> None:
    assert expand(template) == text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ('{{ and $labels.job "z" }} {{ or $labels.missing "d" }} {{ not true }}', "z d false"),
        ("{{ and 0 (index 1 1) }} {{ or 1 (index 1 1) }} {{ 2 | and 1 }}", "0 1 2"),
        (
            "{{ eq 1 2 1 }} {{ ne 1 2 }} {{ lt `a` `b` }} {{ le 1 1 }} {{ gt 2.5 1.5 }} {{ ge `b` `a` }}",
            " ".join(["true"] * 6),
        ),
        ("{{ eq $labels.x nil }} {{ eq nil nil }} {{ eq (index `a` 0) 97 }}", "false true true"),
        ('{{ index $labels "job" }} {{ index "abc" 1 }} {{ (index (query "m2") 1).Value }}', "pg 98 2.5"),
        ('{{ slice "abcdef" 1 3 }} {{ slice "é" 1 | len }} {{ len "é" }} {{ len $labels }}', "bc 1 2 3"),
        ('{{ print 1 2 "a" 3 4 }}|{{ println 1 "a" }}|{{ print nil $value }}', "1 2a3 4|1 a\n|<nil> 7"),
        (
            "{{ html `<a>'\"&` }} {{ js `<a b='\"\\é` }} {{ urlquery `a b&c~é` }}",
            "&lt;a&gt;&#39;&#34;&amp; \\u003Ca b\\u003D\\'\\\"\\\\é a+b%26c~%C3%A9",
        ),
        ('{{ query "sum(m2)" | first | value }} {{ query "m2" | sortByLabel "a" | first | label "a" }}', "3.5 b"),
        (
            '{{ first (query "m2") }} {{ strvalue (first (query "m2")) }}|{{ query "nope" }}',
            "{map[__name__:m2 a:x] 1} |[]",
        ),
        ('{{ reReplaceAll "(.*):.*" "$1" $labels.instance }} {{ reReplaceAll "a*" "x" "baac" }}', "db1 xbxcx"),
        ('{{ reReplaceAll "(?P<n>b)" "[${n}$n$1x$$$9]" "abc" }} {{ reReplaceAll "." "-" "a\\nb" }}', "a[bb$]c -\n-"),
        ('{{ match "a.c" "xabcx" }} {{ match "^b" "ab" }}', "true false"),
        ('{{ "foo bar-baz x_y 5a" | title }} {{ toUpper "aßé" }} {{ toLower "AÉ" }}', "Foo Bar-Baz X_y 5a AßÉ aé"),
        ('{{ "<b>" | safeHtml }} {{ safeHtml "x" | printf "%T" }}', "<b> template.HTML"),
        (
            '{{ graphLink "up > 1" }} {{ tableLink "up" }}',
            "/graph?g0.expr=up+%3E+1&g0.tab=0 /graph?g0.expr=up&g0.tab=1",
        ),
        (
            '{{ stripPort "a:b" }} {{ stripPort "[::1]:90" }} {{ stripPort "::1" }} {{ stripPort "a:b]" }}',
            "a ::1 ::1 a:b]",
        ),
        (
            '{{ stripDomain "h.x.com:9100" }} {{ stripDomain "1.2.3.4:90" }} {{ stripDomain "[::1]:90" }}',
            "h:9100 1.2.3.4:90 [::1]:90",
        ),
        (
            "{{ pathPrefix }} {{ externalURL }} {{ now }} {{ urlQueryEscape `a b` }}",
            "/p http://prom.example/p 1.7000000005e+09 a+b",
        ),
        ('{{ parseDuration "1h30m" }} {{ parseDuration "5ms" }} {{ parseDuration "0" }}', "5400 0.005 0"),
        (
            "{{ toTime $value }} {{ (toTime $value).Unix }} {{ (toTime 1e9).Weekday }} {{ (toTime 1e9).Month }}",
            "1970-01-01 00:00:07 +0000 UTC 7 Sunday September",
        ),
        (
            '{{ (1700000000.5 | toTime).Format "Mon Jan _2 3:04:05.000 PM 2006 MST -07:00" }}',
            "Tue Nov 14 10:13:20.500 PM 2023 UTC +00:00",
        ),
        (
            "{{ (toTime 3661.5).Sub (toTime 0) }} {{ ((toTime 90).Sub (toTime 0)).Minutes }}",
            "1h1m1.5s 1.5",
        ),
        (
            "{{ toDuration 0.25 }} {{ (toDuration 90).Seconds }} {{ toDuration 1e-6 }} {{ toDuration -1e300 }}",
            "250ms 90 1µs -2562047h47m16.854775808s",
        ),
        (
            "{{ humanize `1234` }} {{ humanize 5 }} {{ humanize `1_000.5` }} {{ humanizeTimestamp `NaN` }}",
            "1.234k 5 1k NaN",
        ),
    ],
)
def test_functions(template: str, text: str) -> None:
    assert expand(template) == text


WHERE = 'error executing template __alert_A: template: __alert_A:1:{}: executing "__alert_A" at <{}>: {}'


@pytest.mark.parametrize(
    ("template", "column", "node", "message"),
    [
        ("{{ if gt $value 10 }}{{ end }}", 118, "gt $value 10", "error calling gt: incompatible types for comparison"),
        (
            "{{ eq $labels $labels }}",
            115,
            "eq $labels $labels",
            "error calling eq: non-comparable type map[__name__:mm instance:db1:5432 job:pg]: map[string]string",
        ),
        (
            "{{ 1e15 | humanizeTimestamp }}",
            122,
            "humanizeTimestamp",
            (
                "error calling humanizeTimestamp: 1e+15 cannot be represented as a nanoseconds timestamp "
                "since it overflows int64"
            ),
        ),
        (
            "{{ humanize $labels.job }}",
            115,
            "humanize $labels.job",
            'error calling humanize: strconv.ParseFloat: parsing "pg": invalid syntax',
        ),
        ("{{ humanize true }}", 115, "humanize true", "error calling humanize: can't convert bool to float"),
        (
            "{{ .Foo }}",
            115,
            ".Foo",
            (
                "can't evaluate field Foo in type struct { Labels map[string]string; ExternalLabels map[string]string; "
                "ExternalURL string; Value float64 }"
            ),
        ),
        ("{{ $value.foo }}", 121, "$value.foo", "can't evaluate field foo in type float64"),
        ('{{ $labels.job "x" }}', 122, "$labels.job", "job is not a method but has arguments"),
        ('{{ .Value "x" }}', 115, ".Value", "Value has arguments but cannot be invoked as function"),
        ('{{ "x" 1 }}', 115, '"x"', 'can\'t give argument to non-function "x"'),
        ("{{ nil }}", 115, "nil", "nil is not a command"),
        ("{{ $x = 1 }}", 120, "1", "undefined variable: $x"),
        ('{{ template "x" . }}', 124, '{{template "x" .}}', 'template "x" not defined'),
        ("{{ range $value }}x{{ end }}", 121, "$value", "range can't iterate over 7"),
        ("{{ range $i, $v := 3 }}{{ end }}", 131, "3", "can't use 3 to iterate over more than one variable"),
        (
            '{{ first (query "nope") }}',
            115,
            'first (query "nope")',
            "error calling first: first() called on vector with no elements",
        ),
        ('{{ query "m2 +" }}', 115, 'query "m2 +"', "error calling query: 1:5: parse error: unexpected end of input"),
        ("{{ query 5 }}", 121, "5", "expected string; found 5"),
        ("{{ toUpper $value }}", 123, "$value", "wrong type for value; expected string; got float64"),
        ("{{ humanize 1 2 }}", 115, "humanize", "wrong number of args for humanize: want 1 got 2"),
        ("{{ printf }}", 115, "printf", "wrong number of args for printf: want at least 1 got 0"),
        (
            '{{ reReplaceAll "(" "x" "y" }}',
            115,
            'reReplaceAll "(" "x" "y"',
            "error calling reReplaceAll: regexp: Compile(`(`): error parsing regexp: missing closing ): `(`",
        ),
        ("{{ call $value 1 }}", 115, "call $value 1", "error calling call: non-function of type float64"),
        ("{{ 18446744073709551615 }}", 115, "18446744073709551615", "18446744073709551615 overflows int"),
        (
            '{{ parseDuration "x" }}',
            115,
            'parseDuration "x"',
            'error calling parseDuration: not a valid duration string: "x"',
        ),
    ],
)
def test_an_error_says_where_in_words_of_go(template: str, column: int, node: str, message: str) -> None:
    wanted = WHERE.format(column, node, message)
    assert expand(template) == f"<error expanding template: {wanted}>"
    with pytest.raises(TemplateError) as caught:
        Template.parse(template, "__alert_A").run(LABELS, 7.0, CONTEXT)
    assert caught.value.message == wanted


def test_an_error_counts_lines_and_bytes() -> None:
    text = expand("é\né {{ define `x` }}{{ .a.b }}{{ end }}{{ template `x` $value }}")
    assert '__alert_A:2:24: executing "x" at <.a.b>: can\'t evaluate field a in type float64' in text


def test_without_something_to_query() -> None:
    assert "there is nothing to query here" in Template.parse("{{ query `up` }}").expand(LABELS, 1.0)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ $value", "unclosed action"),
        ("a\n{{ $value\n\n", "unclosed action started at __alert_A:2"),
        ("{{/* x", "unclosed comment"),
        ("{{ }}", "missing value for command"),
        ("{{ if }}{{ end }}", "missing value for if"),
        ("{{ $value | 1 }}", "non executable command in pipeline stage 2"),
        ("{{ if $value }}x", "unexpected EOF"),
        ("{{ end }}", "unexpected {{end}}"),
        ("{{ if 1 }}{{ else }}{{ else }}{{ end }}", "expected end; found {{else}}"),
        ("{{ $y }}", 'undefined variable "$y"'),
        ("{{ if 1 }}{{ $y := 1 }}{{ end }}{{ $y }}", 'undefined variable "$y"'),
        ("{{ define `x` }}{{ $value }}{{ end }}", 'undefined variable "$value"'),
        ("{{ $value | shout }}", 'function "shout" not defined'),
        ("{{ ($value }}", "unclosed left paren"),
        ("{{ $value) }}", 'unexpected ")" in command'),
        ("{{ 1.x }}", 'bad number syntax: "1.x"'),
        ("{{ `a`.b }}", 'unexpected . after term "`a`"'),
        ("{{ 1e999 }}", 'illegal number syntax: "1e999"'),
        ("{{ 99999999999999999999 }}", 'integer overflow: "99999999999999999999"'),
        ('{{ "\\q" }}', "invalid syntax"),
        ('{{ "a }}', "unterminated quoted string"),
        ("{{ 'ab' }}", "malformed character constant: 'ab'"),
        ("{{ break }}", "{{break}} outside {{range}}"),
        ("{{ $a, $b := 1 }}", "too many declarations in command"),
        ("{{ range $a, 1 }}{{ end }}", "range can only initialize variables"),
        ("{{ template x }}", 'unexpected "x" in template clause'),
        ("{{ if 1 }}{{ define `x` }}{{ end }}{{ end }}", "unexpected <define> in command"),
        ("{{ define `x` }}a{{ end }}{{ define `x` }}b{{ end }}", 'template: multiple definition of template "x"'),
        ("{{ é + }}", 'function "é" not defined'),
        ("{{ € }}", "unrecognized character in action: U+20AC '€'"),
        ("{{ $x=1 }}", "bad character U+003D '='"),
    ],
)
def test_refused_at_load(template: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template.parse(template, "__alert_A")
    assert re.sub(r"^template: __alert_A:\d+: ", "", caught.value.message) == message


def test_constant() -> None:
    assert Template.parse("page").constant == "page"
    assert Template.parse("a {{- /* why */ -}} b{{ define `x` }}{{ end }}").constant == "ab"
    assert Template.parse("{{ $value }}").constant is None
    assert Template.parse("a").expand(LABELS, math.nan) == "a"


def test_bytes_that_are_no_text_become_replacement_characters() -> None:
    assert expand('{{ "\\xff\\xfeok" }}{{ slice "é" 1 }}') == "\ufffd\ufffdok\ufffd"
    assert expand('{{ slice "é" 0 1 }}{{ slice "é" 1 2 }}') == "é"
