"""SQL that would turn a schema into its reference: for people to read, never run by Custode."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter

from fleet.schema.alter import alter, replace_enum
from fleet.schema.diff import Difference
from fleet.schema.objects import KINDS, Catalogue, Kind, SchemaObject
from fleet.schema.statements import create, drop, rename

_VIEWS: frozenset[Kind] = frozenset({"view", "materialized_view"})
_WHOLE: frozenset[Kind] = _VIEWS | {"table"}
# after what they are made of; within this order whatever mentions another object comes after that one
_ORDER: tuple[Kind, ...] = (
    *KINDS[: KINDS.index("table")],
    "function",
    "aggregate",
    *(kind for kind in KINDS[KINDS.index("table") :] if kind not in {"function", "aggregate"}),
)
_NAME = re.compile(r'(?:"(?:[^"]|"")+"|[A-Za-z_][\w$]*)(?:\.(?:"(?:[^"]|"")+"|[A-Za-z_][\w$]*))+')


def suggest(differences: Iterable[Difference], reference: Catalogue) -> list[str]:
    """Statements in order, without semicolons: renames, drops, what is altered or made.

    Where SQL cannot do it, a comment (`--`) says what to do. Rows are not looked at: a NOT NULL or a type that does not
    suit them fails, and what is dropped is lost. Read it first; it wants a backup.
    """
    found = list(differences)
    drops, makes, alters = _plan(found, reference)
    renamed = sorted((one for one in found if one.change == "renamed"), key=lambda one: one.kind != "table")
    statements = [rename(one.was, one.is_) for one in renamed if one.was and one.is_]
    if any(one.kind == "function" for one in makes):
        statements.append("SET check_function_bodies = off")
    statements += _dropped(drops)
    steps = {one.key: one for one in (*makes, *(is_ for _, is_ in alters))}
    changes = {is_.key: was for was, is_ in alters}
    for one in _ordered(list(steps.values()), reference):
        was = changes.get(one.key)
        statements += _made(one, reference) if was is None else _altered(was, one, reference)
    statements += [
        f"ALTER SEQUENCE {one.name} OWNED BY {one.definition['owned by']}"
        for one in makes
        if one.kind == "sequence" and "owned by" in one.definition
    ]
    return statements


Alteration = tuple[SchemaObject, SchemaObject]


def _plan(
    differences: Sequence[Difference], reference: Catalogue
) -> tuple[list[SchemaObject], list[SchemaObject], list[Alteration]]:
    """What to drop, what to make, and what to alter from what into what."""
    drops: list[SchemaObject] = []
    makes: dict[tuple[str, str, str], SchemaObject] = {}
    alters: list[Alteration] = []
    disturbed: set[str] = set()
    for one in differences:
        if one.change == "renamed":
            continue
        if one.was is not None and one.is_ is not None:
            enum = _is_enum(one.was) and _is_enum(one.is_)
            if enum or alter(one.was, one.is_) is not None:
                alters.append((one.was, one.is_))
                disturbed |= _disturbed(one, reference)
                continue
            disturbed.add(one.is_.table or one.is_.name)
        if one.was is not None:
            drops.append(one.was)
        if one.is_ is not None:
            makes |= {each.key: each for each in _with_parts(one.is_, reference)}
    missing = {one.is_.key for one in differences if one.change == "missing" and one.is_ is not None}
    for view in _dependent_views(disturbed, reference):
        if view.key not in missing and view.key not in {one.key for one in drops}:
            drops.append(view)
        makes |= {each.key: each for each in _with_parts(view, reference)}
    return drops, list(makes.values()), alters


def _is_enum(one: SchemaObject) -> bool:
    return one.kind == "type" and one.definition["form"] == "ENUM"


def _columns_of_type(one: SchemaObject, reference: Catalogue) -> list[SchemaObject]:
    types = {one.name, f"{one.name}[]"}
    return [each for each in reference.objects if each.kind == "column" and each.definition["type"] in types]


def _disturbed(one: Difference, reference: Catalogue) -> set[str]:
    """The tables whose views stand in the way: those of columns whose type changes."""
    columns: list[SchemaObject] = []
    if one.was is not None and one.is_ is not None:
        if one.kind == "column" and {"type", "collation"} & {*one.details}:
            columns = [one.is_]
        elif _is_enum(one.is_) and alter(one.was, one.is_) is None:
            columns = _columns_of_type(one.is_, reference)
    return {column.table for column in columns if column.table is not None}


def _dependent_views(names: Collection[str], reference: Catalogue) -> Iterator[SchemaObject]:
    """Views that mention one of these, or a view that does."""
    views = {one.name: one for one in reference.objects if one.kind in _VIEWS}
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        for each in [each for each in views.values() if name in _mentioned(each)]:
            waiting.add(each.name)
            yield views.pop(each.name)


def _with_parts(one: SchemaObject, reference: Catalogue) -> Iterator[SchemaObject]:
    """A table or view with whatever belongs to it; columns are made with their table."""
    yield one
    if one.kind in _WHOLE:
        yield from (
            each for each in reference.objects if each.table == one.name and each.kind not in {"column", *_WHOLE}
        )
    elif one.kind == "column" and "generated" in one.definition:
        # dropped with its column
        parts = (each for each in reference.objects if each.table == one.table and each.kind in {"index", "constraint"})
        yield from (each for each in parts if one.name in re.split(r"[^\w$\"]+", " ".join(each.definition.values())))


def _altered(was: SchemaObject, is_: SchemaObject, reference: Catalogue) -> list[str]:
    statements = alter(was, is_)
    if statements is None:
        return replace_enum(is_, _columns_of_type(is_, reference))
    return statements or create(is_)


def _made(one: SchemaObject, reference: Catalogue) -> list[str]:
    columns = [each for each in reference.objects if each.kind == "column" and each.table == one.name]
    parent = next((each for each in reference.objects if each.kind == "table" and each.name == one.table), None)
    return create(one, columns, online=parent is None or "partition by" not in parent.definition)


def _dropped(objects: Sequence[SchemaObject]) -> Iterator[str]:
    """Tables at once, as they may refer to each other; before keys and columns that they may refer to."""
    tables = [one.name for one in objects if one.kind == "table"]
    told = not tables
    for one in reversed(_ordered(objects, None)):
        if not told and (one.kind in {"table", "column"} or (one.kind == "constraint" and not _refers(one))):
            told = True
            yield f"DROP TABLE {', '.join(tables)}"
        if one.kind != "table":
            yield drop(one)


def _ordered(objects: Sequence[SchemaObject], reference: Catalogue | None) -> list[SchemaObject]:
    """Each after what it mentions, otherwise by kind; a table mentions what its columns in `reference` do."""
    ranked = sorted(objects, key=_rank)
    mentioned = {one.key: _mentioned(one) for one in ranked}
    for one in reference.objects if reference else ():
        if one.kind == "column" and ("table", "", one.table) in mentioned:
            mentioned["table", "", one.table or ""] |= _mentioned(one) - {one.table}
    names = {one.name.partition("(")[0]: one.key for one in ranked if one.kind not in {"index", "statistics"}}
    by_key = {one.key: one for one in ranked}
    sorter: TopologicalSorter[tuple[str, str, str]] = TopologicalSorter()
    for one in ranked:
        sorter.add(one.key, *sorted({names[name] for name in mentioned[one.key] & names.keys()} - {one.key}))
    try:
        sorter.prepare()
    except CycleError:
        return ranked
    found: list[SchemaObject] = []
    ready: list[SchemaObject] = []
    while sorter.is_active():
        ready = sorted([*ready, *(by_key[key] for key in sorter.get_ready())], key=_rank)
        found.append(ready.pop(0))
        sorter.done(found[-1].key)
    return found


def _rank(one: SchemaObject) -> tuple[int, bool, str]:
    return (_ORDER.index(one.kind), _refers(one), one.path)


def _refers(one: SchemaObject) -> bool:
    return one.kind == "constraint" and one.definition["definition"].startswith("FOREIGN KEY")


def _mentioned(one: SchemaObject) -> set[str]:
    """Qualified names in its definition, and its table's. A body that is a string is not read before it runs."""
    text = "\n".join(one.definition.values())
    if one.kind == "function" and "\nBEGIN ATOMIC" not in text:
        text = text.partition("\nAS ")[0]
    if one.kind == "sequence":
        return set()  # its owner is told when both are there
    found: set[str] = set() if one.table is None else {one.table}
    for match in _NAME.finditer(text):
        name = match[0]
        found.add(name)
        found.add(name.rpartition(".")[0])  # schema.table of a column
    return found
