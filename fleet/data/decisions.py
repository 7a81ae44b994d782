"""What is decided on every column of production before a copy of it may be made.

Nothing is decided by silence: a table, a column or a type that nobody spoke of stops a refresh. So a table cannot be
kept as a whole, only column by column: a column that comes later would be kept unseen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fleet.data.strategies import STRATEGIES
from fleet.data.tables import Column, Table
from fleet.data.types import DERIVED, FREE

DAYS = 365


class Do(StrEnum):
    KEEP = "keep"
    NULL = "null"
    MASK = "mask"
    REGENERATE = "regenerate"


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a column.

    `mask` names the strategy; `value` (constant), `days` (date_shift, at most so many) and `paths` (json) are options
    of it. `sql` is the expression that a regenerated column is filled by in the target; None: it stays NULL until the
    application fills it. `type` pins the type of a kept column that masks do not know.
    """

    do: Do
    mask: str | None = None
    value: str | None = None
    days: int = DAYS
    paths: Mapping[str, Decision] = field(default_factory=dict)
    sql: str | None = None
    type: str | None = None

    def __str__(self) -> str:
        """In short: `keep`, `mask:email`."""
        detail = self.mask or self.type
        return f"{self.do}:{detail}" if detail else str(self.do)

    def written(self) -> Any:
        """As it stands in the configuration."""
        if self.value is not None:
            return {"mask": self.mask, "value": self.value}
        if self.paths:
            return {"mask": self.mask, "paths": {path: each.written() for path, each in self.paths.items()}}
        if self.mask == "date_shift":
            return {"mask": self.mask, "days": self.days}
        return {"regenerate": self.sql} if self.sql else str(self)


@dataclass(frozen=True, slots=True)
class TableDecision:
    """`columns` is None for a table that is emptied, with whatever columns it may get."""

    columns: Mapping[str, Decision] | None

    @property
    def empty(self) -> bool:
        return self.columns is None

    def written(self) -> Any:
        return "empty" if self.columns is None else {name: each.written() for name, each in self.columns.items()}


@dataclass(frozen=True, slots=True)
class Undecided:
    """What stands against a refresh. `column` is None for the table; `reason` is a sentence without a full stop.

    `decision` is the one that cannot be carried out; None: there is none.
    """

    table: Table
    column: Column | None
    reason: str
    decision: Decision | None = None

    def __str__(self) -> str:
        place = self.table.shown if self.column is None else f"{self.table.shown}.{self.column.name}"
        return f"{place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Decisions:
    """All of a target. `tables` is by schema and name; `email_domain` None stands for the tier's own, see `domain`."""

    tables: Mapping[tuple[str, str], TableDecision]
    email_domain: str | None = None

    def domain(self, tier: str) -> str:
        """The domain of masked e-mail addresses; nobody can own one below .invalid (RFC 2606)."""
        return self.email_domain or f"{tier}.invalid"

    @property
    def masked(self) -> bool:
        """Whether any column is masked, and so a key needed."""
        decided = (each for table in self.tables.values() for each in (table.columns or {}).values())
        return any(each.do is Do.MASK for each in decided)

    def of(self, table: Table) -> TableDecision | None:
        return self.tables.get(table.key)

    def check_against(self, schema: Sequence[Table], tier: str = "development") -> list[Undecided]:
        """Everything that must be decided first, or differently; empty: a refresh may begin.

        `tier` is that of the target; the default's masked addresses are the longest.
        """
        by_key = {table.key: table for table in schema}
        found: list[Undecided] = []
        for table in schema:
            decided = self.of(table)
            if decided is None:
                found.append(Undecided(table, None, "nobody decided on this table"))
            elif decided.columns is None:
                continue
            elif table.foreign:
                found.append(Undecided(table, None, "its rows are on another server; it can only be `empty`"))
            else:
                found += self._columns(table, decided.columns, tier)
                found += self._references(table, decided.columns, by_key)
        return found

    def _columns(self, table: Table, decided: Mapping[str, Decision], tier: str) -> Iterator[Undecided]:
        secret = any(
            column.family in FREE and column.name in decided and decided[column.name].do is not Do.KEEP
            for column in table.columns
        )
        for column in table.columns:
            decision = decided.get(column.name)
            if decision is None:
                yield Undecided(table, column, f"nobody decided on this column ({column.type})")
                continue
            if (reason := unfit(column, decision, self.domain(tier))) is not None:
                yield Undecided(table, column, reason, decision)
            elif secret and column.family in DERIVED and decision.do is Do.KEEP:
                yield Undecided(table, column, "is made from text that is masked here, and tells it", decision)

    def _references(
        self, table: Table, decided: Mapping[str, Decision], tables: Mapping[tuple[str, str], Table]
    ) -> Iterator[Undecided]:
        columns = {column.name: column for column in table.columns}
        for key in table.foreign_keys:
            parent = self.tables.get(key.parent)
            if parent is None or key.parent not in tables:
                continue  # told of where it is missing
            for name, parent_name in zip(key.columns, key.parent_columns, strict=True):
                decision = decided.get(name)
                if decision is None or decision.do in {Do.NULL, Do.REGENERATE} or name not in columns:
                    continue
                if parent.columns is None:
                    reason = f"refers to rows of {'.'.join(key.parent)}, which is emptied"
                    yield Undecided(table, columns[name], reason, decision)
                elif (other := parent.columns.get(parent_name)) is not None and not _agree(decision, other):
                    reason = f"is {decision}, but what it refers to, {'.'.join(key.parent)}.{parent_name}, is {other}"
                    yield Undecided(table, columns[name], reason, decision)


def unfit(column: Column, decision: Decision, domain: str) -> str | None:
    """Why a decision cannot be carried out on a column; None: it can. `domain` is that of masked addresses."""
    match decision.do:
        case Do.KEEP:
            return _unfit_to_keep(column, decision)
        case Do.NULL | Do.REGENERATE:
            return f"is {decision.do}, but must not be NULL" if column.not_null else None
        case Do.MASK:
            return _unfit_to_mask(column, decision, domain)


def _unfit_to_keep(column: Column, decision: Decision) -> str | None:
    if column.family is None and decision.type != column.base:
        return f"nobody decided on the type {column.type}; `keep:{column.base}` does"
    if decision.type not in {None, column.base}:
        return f"was decided on as {decision.type}, and now is {column.base}"
    return None


def _unfit_to_mask(column: Column, decision: Decision, domain: str) -> str | None:
    strategy = STRATEGIES[decision.mask or ""]
    if not strategy.fits(column.family, column.base):
        return f"mask:{decision.mask} does not fit the type {column.type}"
    if column.unique and (column.array or not strategy.unique):
        return f"mask:{decision.mask} may give the same to different rows, but it stands in a unique index"
    needed = strategy.length + (len(domain) if decision.mask == "email" else 0)
    needed = len(decision.value or "") if decision.mask == "constant" else needed
    if column.length is not None and needed > column.length:
        return f"mask:{decision.mask} needs {needed} characters, {column.type} has no room for them"
    return None


def _agree(child: Decision, parent: Decision) -> bool:
    return (child.do, child.mask, child.value, child.days) == (parent.do, parent.mask, parent.value, parent.days)


def read_table(value: Any) -> TableDecision:
    """Read `empty`, or a mapping of columns. Raises ValueError with words for whoever wrote it."""
    if isinstance(value, TableDecision):
        return value
    if value == "empty":
        return TableDecision(None)
    if value == "keep":
        raise ValueError("is kept column by column, as id: keep; custode data classify writes them out")
    if not isinstance(value, Mapping) or not value:
        raise ValueError("must be `empty`, or say what becomes of each column")
    columns = {}
    for name, each in value.items():
        try:
            columns[str(name)] = read_decision(each)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return TableDecision(columns)


def read_decision(value: Any) -> Decision:
    """Read `keep`, `null`, `regenerate`, `mask:STRATEGY`, or a mapping with options. Raises ValueError."""
    if isinstance(value, Decision):
        return value
    if value is None:
        return Decision(Do.NULL)
    if isinstance(value, Mapping):
        return _with_options(dict(value))
    word, _, detail = str(value).partition(":")
    match word:
        case "keep":
            return Decision(Do.KEEP, type=detail or None)
        case "null" | "regenerate" if not detail:
            return Decision(Do(word))
        case "mask" if detail in STRATEGIES:
            return _with_options({"mask": detail})
        case "mask":
            raise ValueError(f"there is no such mask; there are {', '.join(STRATEGIES)}")
    raise ValueError("must be keep, null, regenerate, or mask:STRATEGY")


_OPTION = {"constant": "value", "json": "paths", "date_shift": "days"}


def _with_options(options: dict[str, Any]) -> Decision:
    if set(options) == {"regenerate"} and isinstance(options["regenerate"], str):
        return Decision(Do.REGENERATE, sql=options["regenerate"])
    mask = options.pop("mask", None)
    if mask not in STRATEGIES:
        raise ValueError(f"needs a `mask`, which is one of {', '.join(STRATEGIES)}")
    if unknown := set(options) - {_OPTION.get(mask)}:
        raise ValueError(f"mask: {mask} has no option {', '.join(sorted(unknown))}")
    option = options.get(_OPTION.get(mask, ""))
    match mask:
        case "constant" if isinstance(option, str | int | float):
            return Decision(Do.MASK, mask, value=str(option).lower() if isinstance(option, bool) else str(option))
        case "json" if isinstance(option, Mapping) and option:
            return Decision(Do.MASK, mask, paths=_paths(option))
        case "constant" | "json":
            raise ValueError(f"is written {{mask: {mask}, {_OPTION[mask]}: ...}}")
        case "date_shift":
            return Decision(Do.MASK, mask, days=_days(option))
    return Decision(Do.MASK, mask)


def _days(option: Any) -> int:
    if option is None:
        return DAYS
    if not isinstance(option, int) or isinstance(option, bool) or not 1 <= option <= 36_500:
        raise ValueError("`days` must be a number from 1 to 36500")
    return option


def _paths(option: Mapping[Any, Any]) -> Mapping[str, Decision]:
    paths = {str(path): _of_path(path, each) for path, each in option.items()}
    for path in paths:
        if within := next((other for other in paths if other.startswith(f"{path}.")), None):
            raise ValueError(f"decides on {path}, and on {within} within it")
    return paths


def _of_path(path: object, value: Any) -> Decision:
    decision = read_decision(value)
    if decision.do is Do.REGENERATE or decision.type or decision.mask in {"json", "bytes", "vector", "date_shift"}:
        raise ValueError(f"{path}: what is inside JSON can be keep, null, or a mask of text")
    return decision
