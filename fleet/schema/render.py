"""Differences as text: by object, with what is there (-) and what should be (+), for a terminal or a message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import unified_diff

from fleet.schema.diff import Difference

_SIGNS = {"missing": "+", "extra": "-", "changed": "~", "renamed": ">"}
_SHORT = 80


def render(differences: Iterable[Difference]) -> str:
    """One line an object, below it the parts that differ; empty where nothing does. Control characters are escaped."""
    return "\n".join(_plain(line) for one in differences for line in _lines(one))


def _lines(one: Difference) -> Iterator[str]:
    head = f"{_SIGNS[one.change]} {one.kind.replace('_', ' ')} {one.object}: {one.change}"
    if one.change == "renamed":
        was = "" if one.was is None else one.was.path
        yield f"{head}, is called {was}"
        return
    yield f"{head} ({', '.join(one.details)})" if one.change != "changed" and one.details else head
    if one.change == "changed":
        for part in one.details:
            yield from _part(part, one)
    elif (found := one.was or one.is_) is not None:
        sign = "-" if one.change == "extra" else "+"
        for part, text in found.definition.items():
            lines = text.strip().splitlines() or [""]
            yield f"    {sign} {part}: {lines[0]}"
            yield from (f"    {sign}   {line}" for line in lines[1:])


def _part(part: str, one: Difference) -> Iterator[str]:
    was = "" if one.was is None else one.was.definition.get(part, "")
    is_ = "" if one.is_ is None else one.is_.definition.get(part, "")
    if "\n" not in was + is_ and len(was + is_) <= 2 * _SHORT:
        yield f"    - {part}: {was or '(none)'}"
        yield f"    + {part}: {is_ or '(none)'}"
        return
    yield f"    {part}:"
    compared = unified_diff(was.strip().splitlines(), is_.strip().splitlines(), n=1, lineterm="")
    yield from (f"    {line[0]} {line[1:]}" for line in list(compared)[2:] if not line.startswith("@@"))


def _plain(line: str) -> str:
    """A name may hold anything, also what a terminal would obey."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in line)
