"""Names of which a row holds one part in one column and one in another: the first name here, the last name there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from fleet.data.scan.looking import Look
from fleet.data.scan.people import People


def look_across(looks: Sequence[Look], people: People) -> None:
    """Count such names in the rows that `looks` (in their order) took last, each for the first of its columns.

    Values that hold a whole name are counted already.
    """
    rows: dict[int, dict[tuple[str, Look], None]] = {}
    for look in looks:
        for row, word in look.parts:
            if row not in look.named:
                rows.setdefault(row, {})[word, look] = None
    for parts in rows.values():
        found: set[Look] = set()
        for (word, first), (other, second) in combinations(parts, 2):
            if first is not second and people.are_name(word, other):
                found.update([each for each in (first, second) if not each.names_are_public][:1])
        for look in found:
            look.count_name()
