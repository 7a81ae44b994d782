"""Renames that are plain: the same definition under another name, and only one candidate on either side.

What mentions a renamed table or column is then read under its new name, lest one rename is told ten times.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias

from fleet.schema.objects import SchemaObject

Key: TypeAlias = tuple[str, str, str]
Objects: TypeAlias = dict[Key, SchemaObject]
Renamed: TypeAlias = tuple[SchemaObject, SchemaObject]  # as it is, as it should be
# an extension under another name is another extension; the name of a comment or a grant is what it is on
_NEVER = frozenset({"schema", "extension", "comment", "grant"})
_FIRST = ("table", "column")
_MENTIONED = frozenset({"sequence", "type", "function", "view", "materialized_view", "text_search"})
_VIEWS = frozenset({"view", "materialized_view"})
_DOLLARS = '[\\w$."]'


def follow_renames(
    actual: Iterable[SchemaObject], reference: Iterable[SchemaObject]
) -> tuple[Objects, Objects, list[Renamed]]:
    """Both sides by key, the actual one as if its plain renames were done already; and those, tables first.

    What was renamed is on neither side any more but for tables, whose parts have to be compared.
    """
    there = {one.key: one for one in actual}
    wanted = {one.key: one for one in reference}
    found: list[Renamed] = []
    for was, is_ in _candidates("table", there, wanted):
        found.append((was, is_))
        there = _rewritten(there.values(), was, is_)
    for was, is_ in _candidates("column", there, wanted):
        found.append((was, is_))
        there = _column_rewritten(there, was, is_)
    kinds = sorted({one.kind for one in wanted.values()} - _NEVER - {*_FIRST})
    for kind in kinds:
        for was, is_ in _candidates(kind, there, wanted):
            found.append((was, is_))
            del there[was.key]
            there[is_.key] = is_
            if kind in _MENTIONED:
                there = _rewritten(there.values(), was, is_)
    return there, wanted, found


def _candidates(kind: str, there: Objects, wanted: Objects) -> list[Renamed]:
    gone = _by_content([one for key, one in wanted.items() if one.kind == kind and key not in there], wanted)
    new = _by_content([one for key, one in there.items() if one.kind == kind and key not in wanted], there)
    return [
        (new[content][0], missing[0])
        for content, missing in gone.items()
        if len(missing) == 1 and len(new.get(content, ())) == 1
    ]


def _by_content(objects: Iterable[SchemaObject], all_: Objects) -> Mapping[object, list[SchemaObject]]:
    found: defaultdict[object, list[SchemaObject]] = defaultdict(list)
    for one in objects:
        found[_content(one, all_)].append(one)
    return found


def _content(one: SchemaObject, all_: Objects) -> object:
    """What an object is but for its name. A table is its columns: one without them is like any other."""
    if one.kind == "table":
        columns = frozenset(
            (each.name, *sorted(each.definition.items()))
            for each in all_.values()
            if each.kind == "column" and each.table == one.name
        )
        return (columns or one.name, tuple(sorted(one.definition.items())))
    name = _stem(one)
    arguments = one.name[len(name) :]
    owner = one.table if one.table != one.name else None
    parts = ((part, _renamed(text, {name, one.bare_name}, "?")) for part, text in sorted(one.definition.items()))
    return (owner, arguments, tuple(parts))


def _stem(one: SchemaObject) -> str:
    """A name without the types of a function's arguments."""
    return one.name.partition("(")[0] if one.kind == "function" else one.name


def _renamed(text: str, names: Iterable[str], new: str) -> str:
    """`text` with the first mention of each name replaced."""
    for name in sorted(names, key=len, reverse=True):
        text = _mention(name).sub(lambda _: new, text, count=1)
    return text


def _mention(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!{_DOLLARS}){re.escape(name)}(?![\w$\"])")


def _before_column(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!{_DOLLARS}){re.escape(name)}(?=\.)")


def _rewritten(objects: Iterable[SchemaObject], was: SchemaObject, is_: SchemaObject) -> Objects:
    """All objects, with the name of `was`, qualified, replaced wherever it is mentioned.

    In views its bare name stands before columns, too: PostgreSQL writes it as it is called at the time.
    """
    old, new = _stem(was), _stem(is_)
    mention = _mention(old)
    # a schema that is called alike would be taken for it
    before = None if old == f"{was.bare_name}.{was.bare_name}" else _before_column(was.bare_name)

    def text(one: SchemaObject, value: str) -> str:
        if old not in value:
            return value
        if one.kind in _VIEWS and before is not None:
            value = before.sub(lambda _: is_.bare_name, value)
        return mention.sub(lambda _: new, value)

    found = (
        replace(
            one,
            name=new if one.name == old else one.name,
            table=new if one.table == old else one.table,
            definition={part: text(one, value) for part, value in one.definition.items()},
        )
        for one in objects
    )
    return {one.key: one for one in found}


def _column_rewritten(there: Objects, was: SchemaObject, is_: SchemaObject) -> Objects:
    """The column under its new name, also where its table's other parts mention it."""
    mention = _mention(was.name)
    owned = f"{was.table}.{was.name}"
    leads = re.compile(rf"(?<=REFERENCES {re.escape(str(was.table))})\([^)]*\)")
    found: Objects = {}
    for one in there.values():
        if one.key == was.key:
            found[is_.key] = is_
            continue
        if one.table == was.table and one.kind not in {"column", "table"}:
            parts = {
                part: mention.sub(lambda _: is_.name, text.replace(owned, is_.path)) if was.name in text else text
                for part, text in one.definition.items()
            }
            one = replace(one, definition=parts)  # noqa: PLW2901 - the same object, seen after the rename
        elif one.kind == "constraint" and leads.search(told := one.definition["definition"]):
            parts = dict(one.definition)
            parts["definition"] = leads.sub(lambda columns: mention.sub(lambda _: is_.name, columns[0]), told)
            one = replace(one, definition=parts)  # noqa: PLW2901
        found[one.key] = one
    return found
