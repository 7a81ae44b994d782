"""Figures of actions, in the unit with which their name ends, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from daemon.page.format import duration, moment, number, percent, size

_LONGEST = 1e11  # seconds; beyond it, it is no duration
Figures = Mapping[str, float | str]


@dataclass(frozen=True, slots=True)
class Change:
    """A figure before and after, as texts; "" where it was not measured. `difference` is "" where there is none."""

    name: str
    before: str
    after: str
    difference: str


def figure(value: object, name: str) -> str:
    """In the unit that the name tells."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if name.endswith("_timestamp_seconds"):
        return moment(value) if value > 0 else "never"
    unit = name.rpartition("_")[2]
    if unit == "bytes":
        return size(value)
    if unit == "seconds" and abs(value) < _LONGEST:
        return duration(value)
    return percent(value) if unit == "ratio" else number(value)


def figures_line(figures: Figures) -> str:
    return ", ".join(f"{words(name)} {figure(value, name)}" for name, value in figures.items())


def words(name: str) -> str:
    """The name of a figure without its unit: `index bytes` is said of none."""
    for unit in ("_timestamp_seconds", "_bytes", "_seconds", "_ratio"):
        if name.endswith(unit) and name != unit:
            name = name.removesuffix(unit)
            break
    return name.replace("_", " ")


def changes(before: Figures, after: Figures) -> list[Change]:
    """All figures side by side, in the order in which they were measured."""
    names = dict.fromkeys([*before, *after])
    return [
        Change(
            name,
            figure(before[name], name) if name in before else "",
            figure(after[name], name) if name in after else "",
            _difference(name, before.get(name), after.get(name)),
        )
        for name in names
    ]


def _difference(name: str, before: float | str | None, after: float | str | None) -> str:
    if isinstance(before, str) or isinstance(after, str) or before is None or after is None:
        return "" if before is None or after is None or before == after else "changed"
    by = after - before
    if by == 0 or by != by:  # noqa: PLR0124 - NaN is not itself
        return "the same" if by == 0 else ""
    if name.endswith("_timestamp_seconds"):
        said = f"{duration(abs(by))} {'later' if by > 0 else 'earlier'}"
    elif name.endswith("_ratio"):
        said = f"{by * 100:+.3g} points"
    else:
        said = f"{'+' if by > 0 else '−'}{figure(abs(by), name)}"
    part = f" ({by / before:+.0%})" if before and not name.endswith(("_ratio", "_timestamp_seconds")) else ""
    return said + part.replace("-", "−")
