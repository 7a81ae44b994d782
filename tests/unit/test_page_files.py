"""What pages are made of: templates that keep to the content security policy, and files of others as they came."""

from __future__ import annotations

import hashlib
import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import pytest

from daemon.page import static
from daemon.page.frame import make_templates

FOLDER = files("daemon.page")
TEMPLATES = {
    one.name: one.read_text(encoding="utf-8")
    for one in sorted((FOLDER / "templates").iterdir(), key=lambda one: one.name)
    if one.name.endswith(".html")
}
VENDORED: dict[str, dict[str, str]] = json.loads((FOLDER / "static/vendor/vendored.json").read_text(encoding="utf-8"))
FIELD = '<input type="hidden" name="csrf">'
_JINJA = re.compile(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", re.DOTALL)


class Markup(HTMLParser):
    """The tags of a template, whatever Jinja writes into them."""

    def __init__(self, source: str) -> None:
        super().__init__()
        source = _JINJA.sub("", source.replace("{{ form_token() }}", FIELD))
        self.inline: list[str] = []  # what the policy forbids
        self.posts: list[str] = []  # the source of each form of method post
        self._opened: int | None = None
        self._source = source
        self._lines = source.splitlines(keepends=True)
        self.feed(source)

    def _here(self) -> int:
        line, column = self.getpos()
        return sum(map(len, self._lines[: line - 1])) + column

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.inline += [f"{tag} {name}" for name in said if name == "style" or re.fullmatch(r"(hx-)?on[a-z:-]+", name)]
        if tag == "style" or (tag == "script" and "src" not in said):
            self.inline.append(tag)
        if tag == "form" and (said.get("method") or "").lower() == "post":
            self._opened = self._here()

    def handle_endtag(self, tag: str) -> None:
        if tag == "form" and self._opened is not None:
            self.posts.append(self._source[self._opened : self._here()])
            self._opened = None


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_template_holds_what_the_policy_forbids(name: str) -> None:
    source = TEMPLATES[name]
    assert Markup(source).inline == []
    assert not re.search(r"\|\s*safe\b|autoescape|javascript:|\bhx-(vals|headers|on)\b", source)
    assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", source), "nothing is fetched from elsewhere"


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_form_that_changes_something_has_the_token(name: str) -> None:
    for form in Markup(TEMPLATES[name]).posts:
        # who is not signed in yet has no token: what another site sends there is refused by its origin
        assert FIELD in form or 'action="/login"' in form, form
    assert TEMPLATES[name].lower().count('method="post"') == len(Markup(TEMPLATES[name]).posts)


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_can_be_read(name: str) -> None:
    make_templates().parse(TEMPLATES[name], name)


@pytest.mark.parametrize("forbidden", ['<p onclick="x()">', '<p style="x">', "<script>x</script>", "<style>x</style>"])
def test_what_is_forbidden_is_found(forbidden: str) -> None:
    assert Markup(forbidden).inline


@pytest.mark.parametrize("name", VENDORED)
def test_files_of_others_are_as_they_came(name: str) -> None:
    known = VENDORED[name]
    content = (FOLDER / "static/vendor" / name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == known["sha256"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", known["version"])
    assert known["license"] in {"0BSD", "MIT"}


def test_the_origin_of_every_file_of_others_is_written_down() -> None:
    found = {one.name for one in (FOLDER / "static/vendor").iterdir()}
    assert found == {*VENDORED, "vendored.json"}


def test_an_address_changes_with_the_content(monkeypatch: pytest.MonkeyPatch) -> None:
    before = static.address("custode.css")
    assert re.fullmatch(r"/static/custode\.css\?v=[0-9a-f]{16}", before)
    contents: dict[str, Any] = {"custode.css": b"other"}
    static._version.cache_clear()
    monkeypatch.setattr(static, "_contents", lambda: contents)
    assert static.address("custode.css") != before
    static._version.cache_clear()
    with pytest.raises(KeyError):
        static.address("nothing.css")
