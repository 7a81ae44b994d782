"""What a scan is told, and what it tells: places and counts, never a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from fleet.data.kinds import Kind
from fleet.data.scan.people import NOBODY, People
from fleet.policy import DataPolicy, Tier

Place = Literal["rows", "statistics", "catalogue"]
ColumnName = tuple[str, str, str]  # schema, table, column


def _silent(_ratio: float, _doing: str) -> None:
    return


@dataclass(frozen=True, slots=True)
class Finding:
    """`count` values of a column hold personal data of a kind; of kind `unread` it could not be looked at: `reason`.

    `place` says where: in rows, in what the planner remembers of them, or in definitions and comments.
    """

    schemaname: str
    relname: str
    column: str
    kind: Kind
    count: int
    place: Place = "rows"
    reason: str = ""

    @property
    def shown(self) -> str:
        names = ".".join(name for name in (self.schemaname, self.relname, self.column) if name)
        if self.kind is Kind.UNREAD:
            return f"{names}: {self.reason}"
        where = "" if self.place == "rows" else f" in the {self.place}"
        return f"{names}: {self.count} {self.kind}{where}"


@dataclass(frozen=True, slots=True)
class Options:
    """What to look at, and what may be there.

    `rows`: about so many of each table, of pages at random; None: all. Addresses at `domains` are masks', those at
    `test_domains` of test accounts. `published` are kinds that a column may hold, because anybody may read them; what
    is known to be of a production user (`people`) may stand nowhere. `progress` is told a ratio from 0 to 1.
    """

    rows: int | None = None
    domains: frozenset[str] = frozenset()
    test_domains: frozenset[str] = frozenset()
    published: Mapping[ColumnName, frozenset[Kind]] = field(default_factory=dict)
    people: People = NOBODY
    progress: Callable[[float, str], None] = _silent


def scan_options(
    data: DataPolicy,
    tier: Tier,
    *,
    people: People = NOBODY,
    rows: int | None = None,
    progress: Callable[[float, str], None] = _silent,
) -> Options:
    """What the policy of the scanned environment allows to be there."""
    return Options(
        rows=rows,
        domains=frozenset({data.decisions.domain(tier)}),
        test_domains=frozenset(data.test_domains),
        published=_published(data.published),
        people=people,
        progress=progress,
    )


def _published(written: Mapping[str, tuple[Kind, ...]]) -> dict[ColumnName, frozenset[Kind]]:
    found = {}
    for name, kinds in written.items():
        table, _, column = name.rpartition(".")
        schema, _, relation = table.rpartition(".")
        found[schema or "public", relation, column] = frozenset(kinds)
    return found
