"""A limit on the number of series: the least important records go, and are counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from collectors import Family, Rows


def series(rows: Sequence[Rows]) -> int:
    """How many samples `rows` gives: values that are not None."""
    return sum(len(column) - column.count(None) for part in rows for column in part.values)


def cap(rows: Sequence[Rows], max_series: int, before: Sequence[Rows] = ()) -> tuple[list[Rows], int]:
    """Leave out repeated label sets, then what exceeds `max_series`; returns the rest and the number of series dropped.

    The first `keep` records of each Rows stay, even above the limit. What remains of it is filled in the order given,
    so the last records of the last Rows go first. A record is kept or dropped as a whole. Labels as in `before`, what
    the last call returned, become the very same objects: they are distinct, and equal at a glance for who comes next.
    """
    seen: dict[Family, set[tuple[Any, ...]]] = {}
    known = {part.family: part for part in before} if _each_family_once(rows) else {}
    settled = [_settled(part, known.get(part.family)) for part in rows]
    distinct = [part if same else _distinct(part, seen.setdefault(part.family, set())) for part, same in settled]
    kept = distinct
    if sum(len(part) * len(part.family.metrics) for part in distinct) > max_series:
        room = max_series - series([part.first(part.keep) for part in distinct])
        kept = []
        for part in distinct:
            limited, room = _limited(part, room)
            kept.append(limited)
    if all(len(had) == len(has) for had, has in zip(rows, kept, strict=True)):
        return distinct, 0
    return kept, series(rows) - series(kept)


def _each_family_once(rows: Sequence[Rows]) -> bool:
    return len({part.family for part in rows}) == len(rows)


def _settled(part: Rows, before: Rows | None) -> tuple[Rows, bool]:
    if before is None or len(before) != len(part) or before.labels != part.labels:
        return part, False
    return Rows(part.family, before.labels, part.values, part.keep), True


def _distinct(part: Rows, seen: set[tuple[Any, ...]]) -> Rows:
    keys = part.keys
    if len(set(keys)) == len(keys) and seen.isdisjoint(keys):
        seen.update(keys)
        return part
    records, keep = [], part.keep
    for index, (key, record) in enumerate(zip(keys, part.records, strict=True)):
        if key in seen:
            keep -= index < part.keep
            continue
        seen.add(key)
        records.append(record)
    return part.family.rows(records, keep=keep)


def _limited(part: Rows, room: int) -> tuple[Rows, int]:
    """Take records after the kept ones while there is room; returns what room is left."""
    end = part.keep
    for values in zip(*(column[end:] for column in part.values), strict=True):
        count = len(values) - values.count(None)
        if count > room:
            return part.first(end), 0
        room -= count
        end += 1
    return part, room
