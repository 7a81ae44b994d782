"""Rules and groups as loaded from a file: checked and compiled."""

from __future__ import annotations

from dataclasses import dataclass, field

from rules.promql import Query
from rules.templates import Template


@dataclass(frozen=True, slots=True)
class AlertRule:
    """An alert. `hold` is `for`, in seconds; labels and annotations are templates."""

    name: str
    query: Query
    hold: float
    keep_firing: float  # seconds
    labels: tuple[tuple[str, Template], ...]
    annotations: tuple[tuple[str, Template], ...]
    line: int


@dataclass(frozen=True, slots=True)
class RecordRule:
    """A series to be recorded under `name`, with some labels set."""

    name: str
    query: Query
    labels: tuple[tuple[str, str], ...]
    line: int


Rule = AlertRule | RecordRule


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated in order, at one time. `limit` is the most elements a rule may have; 0 is any number."""

    name: str
    file: str
    interval: float  # seconds
    rules: tuple[Rule, ...]
    limit: int = 0
    query_offset: float = 0.0  # seconds
    labels: tuple[tuple[str, str], ...] = field(default=())

    @property
    def key(self) -> str:
        return f"{self.file};{self.name}"
