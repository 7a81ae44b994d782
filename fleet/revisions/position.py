"""Where an environment stands among the application's revisions."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from fleet.revisions.graph import RevisionGraph


@dataclass(frozen=True, slots=True)
class Position:
    """`current` are the rows of alembic_version, sorted; `unknown` those that the scripts do not have.

    `behind` are the revisions still to be applied, in order; `ahead` those that are applied here and not where
    `position` was told to compare with. Both are None where an unknown row leaves it open.
    """

    current: tuple[str, ...]
    heads: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    behind: tuple[str, ...] | None = None
    ahead: tuple[str, ...] | None = None

    @property
    def branched(self) -> bool:
        """Whether several branches are applied and not merged."""
        return len(self.current) > 1

    @property
    def at_head(self) -> bool:
        return self.behind == ()


def position(graph: RevisionGraph, current: Collection[str], reference: Collection[str] | None = None) -> Position:
    """`reference` are the rows of another environment's alembic_version; None compares with nobody.

    Raises:
        ConfigError: revisions that need each other in a circle.
    """
    rows = tuple(sorted(set(current)))
    unknown = tuple(id_ for id_ in rows if id_ not in graph.parents)
    applied = graph.applied(rows)
    behind = ahead = None
    if not unknown:
        behind = tuple(graph.ordered(graph.parents.keys() - applied))
        if reference is not None and set(reference) <= graph.parents.keys():
            ahead = tuple(graph.ordered(applied - graph.applied(reference)))
    return Position(rows, tuple(sorted(graph.heads)), unknown, behind, ahead)
