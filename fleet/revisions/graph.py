"""The graph of an application's Alembic revisions: what must be applied before what, and by which names people ask."""

from __future__ import annotations

import heapq
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from fleet.errors import ConfigError

BASE = "base"
_RELATIVE = re.compile(r"^(?P<start>.*?)(?P<steps>[+-]\d+)$")


@dataclass(frozen=True, slots=True)
class Revision:
    """One script: `down` are the revisions that it follows (several: a merge), `depends_on` other ones it needs.

    `title` is the first line of its docstring, `file` and `sha256` are of the script that it was read from.
    """

    id: str
    down: tuple[str, ...]
    depends_on: tuple[str, ...] = ()
    branch_labels: tuple[str, ...] = ()
    title: str = field(default="", compare=False)
    file: str = field(default="", compare=False)
    sha256: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class RevisionGraph:
    """Revisions by id; `parents` are those that must be applied before, `down` those of them that it follows."""

    parents: Mapping[str, frozenset[str]]
    down: Mapping[str, frozenset[str]]
    revisions: Mapping[str, Revision]

    @property
    def heads(self) -> frozenset[str]:
        """Revisions that no other one follows or needs."""
        return frozenset(self.parents) - frozenset().union(*self.parents.values())

    def applied(self, current: Iterable[str]) -> frozenset[str]:
        """All revisions applied where `current` are the rows of alembic_version; unknown rows are passed over."""
        applied: set[str] = set()
        waiting = [id_ for id_ in current if id_ in self.parents]
        while waiting:
            id_ = waiting.pop()
            if id_ not in applied:
                applied.add(id_)
                waiting.extend(self.parents[id_])
        return frozenset(applied)

    def behind(self, current: Collection[str]) -> int | None:
        """How many revisions are still to be applied where `current` are the rows of alembic_version.

        None where one of them is unknown to the scripts: then nothing can be said.
        """
        if not set(current) <= self.parents.keys():
            return None
        return len(self.parents) - len(self.applied(current))

    def tips(self, applied: Iterable[str]) -> frozenset[str]:
        """The rows of alembic_version where exactly these revisions are applied: Alembic drops what another implies."""
        applied = frozenset(applied)
        return applied - frozenset().union(*(self.parents[id_] for id_ in applied))

    def ordered(self, ids: Collection[str]) -> list[str]:
        """The same revisions, each after those that it needs; always in one and the same order.

        Raises:
            ConfigError: they form a circle.
        """
        wanted = set(ids)
        open_parents = {id_: len(self.parents[id_] & wanted) for id_ in wanted}
        children: dict[str, list[str]] = {}
        for id_ in wanted:
            for parent in self.parents[id_] & wanted:
                children.setdefault(parent, []).append(id_)
        ready = [id_ for id_, count in open_parents.items() if not count]
        heapq.heapify(ready)
        found: list[str] = []
        while ready:
            id_ = heapq.heappop(ready)
            found.append(id_)
            for child in children.get(id_, ()):
                open_parents[child] -= 1
                if not open_parents[child]:
                    heapq.heappush(ready, child)
        if len(found) < len(wanted):
            circle = sorted(wanted - set(found))
            raise ConfigError(f"revisions that need each other in a circle: {', '.join(circle)}")
        return found

    def resolve(self, name: str, current: Collection[str] = ()) -> frozenset[str]:
        """The revisions that people mean, as Alembic reads it; none of them is the base.

        An id or its unique start, a branch label, `head`, `heads`, `LABEL@head`, `base`, `+1` and `-1` from where
        `current` stands, `ID+1`, `ID-1`.

        Raises:
            ConfigError: there is no such revision, or it can mean several.
        """
        if name == BASE:
            return frozenset()
        if name == "heads":
            return self.heads
        if name == "head":
            return frozenset({_only(self.heads, "the scripts have several heads, say `heads` or which")})
        label, separator, rest = name.rpartition("@")
        if separator and rest in ("head", "heads"):
            root = self._known(label)
            branch = {head for head in self.heads if root in self.applied([head])}
            return frozenset({_only(branch, f"{label} has several heads")})
        if name not in self.parents and (match := _RELATIVE.match(name)):
            start = [self._known(match["start"])] if match["start"] else list(current)
            return self._away(_only(start, f"{name} needs one revision to count from"), int(match["steps"]))
        return frozenset({self._known(rest)})

    def _away(self, start: str, steps: int) -> frozenset[str]:
        place: str | None = start
        for _ in range(abs(steps)):
            if place is None:
                raise ConfigError(f"there are not {abs(steps)} revisions from {start} on")
            if steps < 0:
                parents = self.down[place]
                place = _only(parents, f"{place} follows several revisions, say which") if parents else None
                continue
            place = _only(
                [id_ for id_, down in self.down.items() if place in down],
                f"not one revision follows {place}, say which",
            )
        return frozenset() if place is None else frozenset({place})

    def _known(self, name: str) -> str:
        if name in self.parents:
            return name
        labelled = [one.id for one in self.revisions.values() if name in one.branch_labels]
        starting = [id_ for id_ in self.parents if name and id_.startswith(name)]
        return _only(labelled or starting, f"the scripts have no revision {name!r}, or several that begin so")


def build_graph(revisions: Collection[Revision]) -> RevisionGraph:
    """Resolve parents. `depends_on` may be a branch label or the start of an id, as Alembic resolves it.

    Raises:
        ConfigError: an id that is there twice, or a parent that is not there.
    """
    ids = {revision.id for revision in revisions}
    if len(ids) != len(revisions):
        twice = sorted(id_ for id_ in ids if sum(revision.id == id_ for revision in revisions) > 1)
        raise ConfigError(f"revisions that are there twice: {', '.join(twice)}")
    labels = {label: revision.id for revision in revisions for label in revision.branch_labels}

    def resolve(name: str, child: str) -> str:
        if name in ids:
            return name
        if name in labels:
            return labels[name]
        starting = [id_ for id_ in ids if id_.startswith(name)]
        if len(starting) != 1:
            raise ConfigError(f"revision {child} follows {name}, which is not there")
        return starting[0]

    down = {one.id: frozenset(resolve(name, one.id) for name in one.down) for one in revisions}
    needed = {one.id: frozenset(resolve(name, one.id) for name in one.depends_on) for one in revisions}
    parents = {id_: down[id_] | needed[id_] for id_ in down}
    return RevisionGraph(parents, down, {one.id: one for one in revisions})


def _only(found: Collection[str], otherwise: str) -> str:
    if len(found) != 1:
        raise ConfigError(otherwise)
    return next(iter(found))
