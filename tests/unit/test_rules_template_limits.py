"""Templates that mean harm: errors in bounded time and memory, whatever the text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.errors import TemplateError
from rules.labels import Labels
from rules.templates import Context, Template

LABELS = Labels({"__name__": "mm", "instance": "db1:5432", "job": "pg"})
CONTEXT = Context(query=lambda _: [(LABELS, 1.0)] * 1000)


def expand(template: str) -> str:
    return Template.parse(template, "__alert_A").expand(LABELS, 7.0, CONTEXT)


# within a second: a template may loop for ever, and its rule's file is not ours
@pytest.mark.parametrize(
    "template",
    [
        "{{ range 1000000000 }}x{{ end }}",
        "{{ range 1000000000 }}{{ end }}",
        "{{ range 100000 }}{{ range 100000 }}{{ end }}{{ end }}",
        "{{ define `a` }}{{ template `a` . }}{{ end }}{{ template `a` . }}",
        "{{ define `a` }}" + "{{ if 1 }}" * 60 + "{{ template `a` }}" + "{{ end }}" * 61 + "{{ template `a` }}",
        '{{ range 9 }}{{ printf "%999999d" 1 }}{{ end }}',
        "{{ $x := `ab` }}{{ range 99 }}{{ $x = print $x $x }}{{ end }}",
        "{{ $x := args 1 }}{{ range 99 }}{{ $x = args $x $x }}{{ end }}{{ $x }}",
        "{{ $x := args 1 }}{{ range 9999 }}{{ $x = args $x }}{{ end }}{{ $x }}",
        "{{ $x := `a` }}{{ range 17 }}{{ $x = print $x $x }}{{ end }}{{ range 9999 }}{{ $y := html $x }}{{ end }}",
        "{{ $x := `a` }}{{ range 17 }}{{ $x = print $x $x }}{{ end }}{{ reReplaceAll `a` $x $x }}",
        '{{ range 100000 }}{{ $x := query "m2" }}{{ end }}',
        "{{ $s := `a` }}{{ range 99999 }}{{ $s = print $s `b` }}{{ $x := match (print $s `(a{9}){9}`) `x` }}{{ end }}",
        "{{ range 100000 }}{{ if 0 }}" + "{{ else if 0 }}" * 500 + "{{ end }}{{ end }}",
    ],
)
def test_a_hostile_template_ends_in_an_error(template: str) -> None:
    text = expand(template)
    assert text.startswith("<error expanding template: error executing template __alert_A: ")
    assert len(text) < 10_000


@pytest.mark.parametrize(
    "template", ["{{ " + "(" * 9999, "{{ if 1 }}" * 9999, "{{ define `a` }}" + "{{ with 1 }}" * 9999]
)
def test_deep_nesting_is_refused(template: str) -> None:
    with pytest.raises(TemplateError, match="max expression depth exceeded"):
        Template.parse(template)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                *"{}()|$.:=-\"`'/* \n1ax,é",
                "{{",
                "}}",
                "{{ ",
                " }}",
                "if ",
                "range ",
                "end",
                "else",
                "$labels",
                "$value",
                "query `m2`",
                "printf ",
                "define `a`",
                "template `a`",
                "len ",
            ]
        )
    )
)
def test_whatever_the_text_only_a_template_error_comes_out(pieces: list[str]) -> None:
    try:
        template = Template.parse("".join(pieces))
    except TemplateError:
        return
    assert "panic" not in template.expand(LABELS, 1.0, CONTEXT)
