"""What differs between a schema and the one that it should be."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from fleet.schema.flight import Flight
from fleet.schema.objects import Catalogue, Kind, SchemaObject
from fleet.schema.renames import Renamed, follow_renames

Change: TypeAlias = Literal["missing", "extra", "changed", "renamed"]
CHANGES: tuple[Change, ...] = get_args(Change)
_WHOLE: frozenset[Kind] = frozenset({"table", "view", "materialized_view"})  # take what belongs to them along
_VIEWS: frozenset[Kind] = frozenset({"view", "materialized_view"})
_QUALIFIER = re.compile(r'(?:"(?:[^"]|"")+"|[A-Za-z_][\w$]*)\.')


@dataclass(frozen=True, slots=True)
class Difference:
    """One object that is not as the reference has it.

    `was` is what is there (None: missing), `is_` what should be (None: extra). `details` are the parts that differ, of
    a whole table how many objects come or go with it.
    """

    kind: Kind
    object: str
    change: Change
    was: SchemaObject | None
    is_: SchemaObject | None
    details: tuple[str, ...] = ()


def compare(actual: Catalogue, reference: Catalogue, *, ignore: Iterable[str] = ()) -> list[Difference]:
    """What would have to change in `actual` to be as `reference` is, by kind and name.

    `ignore` are patterns `kind:glob`. A table that is missing or extra is one difference, whatever belongs to it. Of
    two servers on different sides of PostgreSQL 16 views are compared without qualifiers: it writes fewer of them.
    """
    patterns = tuple(ignore)
    actual, reference = actual.without(patterns), reference.without(patterns)
    there, wanted, renamed = follow_renames(actual.objects, reference.objects)
    loosely = (actual.version < 16) != (reference.version < 16)
    found = [_renamed(one) for one in renamed]
    gone = _wholes(wanted.keys() - there.keys(), wanted)
    found += [_whole("missing", wanted[key], reference.objects) for key in gone.values()]
    added = _wholes(there.keys() - wanted.keys(), there)
    found += [_whole("extra", there[key], actual.objects) for key in added.values()]
    found += [
        Difference(one.kind, one.path, "missing", None, one)
        for key in wanted.keys() - there.keys()
        if not _within(one := wanted[key], gone)
    ]
    found += [
        Difference(one.kind, one.path, "extra", one, None)
        for key in there.keys() - wanted.keys()
        if not _within(one := there[key], added)
    ]
    for key in there.keys() & wanted.keys():
        if details := _details(there[key], wanted[key], loosely=loosely):
            found.append(Difference(wanted[key].kind, wanted[key].path, "changed", there[key], wanted[key], details))
    return sorted(found, key=lambda one: (one.kind, one.object, one.change))


def settled(differences: Iterable[Difference], *flights: Flight) -> list[Difference]:
    """The differences without those that a build under way explains: indexes of the tables that get one."""
    building = frozenset[str]().union(*(flight.building for flight in flights))
    return [
        one
        for one in differences
        if one.kind != "index" or not {each.table for each in (one.was, one.is_) if each is not None} & building
    ]


def tally(differences: Iterable[Difference]) -> dict[tuple[Kind, Change], int]:
    """How many differences there are, by kind and change."""
    counts: defaultdict[tuple[Kind, Change], int] = defaultdict(int)
    for one in differences:
        counts[one.kind, one.change] += 1
    return dict(counts)


def _wholes(
    keys: Collection[tuple[str, str, str]], objects: Mapping[tuple[str, str, str], SchemaObject]
) -> dict[str, tuple[str, str, str]]:
    """The tables and views among them, by name."""
    return {objects[key].name: key for key in keys if objects[key].kind in _WHOLE}


def _within(one: SchemaObject, wholes: Mapping[str, object]) -> bool:
    return one.table in wholes


def _whole(change: Literal["missing", "extra"], one: SchemaObject, objects: Iterable[SchemaObject]) -> Difference:
    counts: defaultdict[str, int] = defaultdict(int)
    for part in objects:
        if part.table == one.name and part.kind not in _WHOLE:
            counts[part.kind] += 1
    details = tuple(f"{kind}: {count}" for kind, count in sorted(counts.items()))
    was, is_ = (None, one) if change == "missing" else (one, None)
    return Difference(one.kind, one.path, change, was, is_, details)


def _renamed(renamed: Renamed) -> Difference:
    was, is_ = renamed
    return Difference(is_.kind, is_.path, "renamed", was, is_, (f"{was.path} -> {is_.path}",))


def _details(was: SchemaObject, is_: SchemaObject, *, loosely: bool) -> tuple[str, ...]:
    """The parts that differ."""
    before, after = dict(was.definition), dict(is_.definition)
    if loosely and is_.kind in _VIEWS:
        before["query"], after["query"] = (_QUALIFIER.sub("", query) for query in (before["query"], after["query"]))
    return tuple(sorted(part for part in before.keys() | after.keys() if before.get(part) != after.get(part)))
