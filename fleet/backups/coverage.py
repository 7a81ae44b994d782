"""How far the backups of a copy reach back, all databases of an environment considered."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fleet.backups.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Coverage:
    """`last` is the newest good backup of all databases that are wanted, or of as many as any holds.

    `recovery_point` and `last_success` (unix seconds) are of the database that is worst off.
    """

    last: Manifest
    alike: Sequence[Manifest]  # the others that hold as much
    recovery_point: float
    last_success: float


def coverage(good: Sequence[Manifest], databases: Collection[str] | None, now: float) -> Coverage | None:
    """What these good backups, oldest first, are worth at `now` (unix seconds); None where there is none.

    `databases` are those that must be there, None: as many as the widest backup holds. What no backup holds yet is left
    to the next one. What a wrong clock dated later than `now` counts only where there is nothing else.
    """
    past = [one for one in good if one.started_at <= now] or good
    if not past:
        return None
    widest = max((frozenset(one.names) for one in past), key=len)
    held = frozenset(name for one in past for name in one.names)
    wanted = (widest if databases is None else frozenset(databases)) & held
    most = max(len(wanted.intersection(one.names)) for one in past)
    *alike, last = (one for one in past if len(wanted.intersection(one.names)) == most)
    newest = [next(one for one in reversed(past) if name in one.names) for name in wanted] or [last]
    return Coverage(last, alike, min(one.started_at for one in newest), min(one.finished_at for one in newest))
