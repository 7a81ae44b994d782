"""Every link of the README leads somewhere."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.test_readme import README

CHANGELOG = README.with_name("CHANGELOG.md")
_FENCE = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def prose(path: Path) -> str:
    """The text without its blocks of code."""
    if not path.exists():
        pytest.skip("the README is not part of an installed wheel")
    return _FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    seen: Counter[str] = Counter()
    found = set()
    for title in re.findall(r"^#{1,6} (.*)$", text, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def links(text: str) -> Iterator[str]:
    yield from _LINK.findall(_CODE.sub("", text))


def faults(path: Path) -> list[str]:
    """The links of a file that lead nowhere. Of those to other sites only the form is looked at."""
    text = prose(path)
    wrong = []
    for link in links(text):
        file, _, anchor = link.partition("#")
        if file.startswith("https://"):
            continue
        target = path.parent / file if file else path
        if not target.is_file() or (anchor and anchor not in anchors(prose(target))):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("path", [README, CHANGELOG], ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    assert faults(path) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "# Some title\n[a](#some-title) [b](#other) [c](b.md) `[d](#code)`\n", encoding="utf-8"
    )
    assert faults(tmp_path / "a.md") == ["#other", "b.md"]


def test_the_contents_name_every_section_in_order() -> None:
    text = prose(README)
    contents = text.partition("\n## Contents\n")[2].partition("\n## ")[0]
    sections = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert sections[0] == "Contents"
    assert re.findall(r"^- \[(.*?)\]\(#", contents, re.MULTILINE) == sections[1:]
