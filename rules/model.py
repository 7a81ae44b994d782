"""Rules and groups as loaded from a file: checked and compiled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePath

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


def short_names(files: Iterable[str]) -> dict[str, str]:
    """For each path the shortest end of it that no other has: what rules are known by while folders move."""
    parts = {file: PurePath(file).parts for file in files}
    length = dict.fromkeys(parts, 1)
    while True:
        ends = {file: parts[file][-count:] for file, count in length.items()}
        times = Counter(ends.values())
        longer = [file for file, end in ends.items() if times[end] > 1 and length[file] < len(parts[file])]
        if not longer:
            return {file: "/".join(end) for file, end in ends.items()}
        for file in longer:
            length[file] += 1
