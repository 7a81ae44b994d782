"""Backups as tables, a calendar and a forecast, for a terminal."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from daemon.cli._stored import Stored
from daemon.cli._words import duration, figure, moment
from daemon.stored import Copy, tiers_of
from fleet.backups import DatabaseSnapshot, Manifest
from fleet.backups.retention import SERIES, Series
from fleet.backups.simulate import Simulation

_STYLE: dict[Series, str] = {
    "last": "cyan",
    "hourly": "cyan",
    "daily": "green",
    "weekly": "blue",
    "monthly": "magenta",
    "yearly": "red",
}
_LETTER: dict[Series, str] = {"last": "n", "hourly": "h", "daily": "d", "weekly": "w", "monthly": "m", "yearly": "y"}


def size(value: float) -> str:
    return figure("bytes", float(value))


def listing(stored: Stored, now: float) -> RenderableType:
    """Every store with its backups, newest first, and what other programs left as files."""
    parts: list[RenderableType] = []
    for copy in stored.copies:
        parts.append(Text(f"{copy.name}", style="bold").append(f"  {_held(copy)}", style="dim"))
        if copy.problem is not None:
            parts.append(Text(f"  cannot be read: {copy.problem}", style="red"))
        elif copy.manifests:
            parts.append(_rows(copy, now))
    if stored.files:
        parts += [Text("files of other programs", style="bold"), _files(stored, now)]
    return Group(*parts)


def _held(copy: Copy) -> str:
    good = [manifest for manifest in copy.manifests if manifest.succeeded]
    return f"{len(good)} good backups, {size(sum(one.added_bytes for one in copy.manifests))} stored"


def _rows(copy: Copy, now: float) -> Table:
    table = Table("backup", "age", "kept as", "size", "added", "took", "proven", "")
    for column in (1, 3, 4, 5):
        table.columns[column].justify = "right"
    known = tiers_of(copy)
    for manifest in reversed(copy.manifests):
        remark = Text(manifest.error or "", style="red")
        if manifest.pin is not None:
            remark = Text(f"pinned: {manifest.pin.reason}", style="yellow")
        table.add_row(
            manifest.id,
            duration(now - manifest.started_at),
            _kept(manifest, known[manifest.id].tiers),
            size(manifest.size_bytes) if manifest.succeeded else "",
            size(manifest.added_bytes) if manifest.succeeded else "",
            duration(manifest.seconds),
            "" if manifest.proof is None else f"{duration(now - manifest.proof.at)} ago",
            remark,
        )
    return table


def _kept(manifest: Manifest, tiers: tuple[Series, ...]) -> Text:
    if not manifest.succeeded:
        return Text("failed", style="red")
    return Text(" ").join(Text(tier, style=_STYLE[tier]) for tier in tiers) if tiers else Text("-", style="dim")


def _files(stored: Stored, now: float) -> Table:
    table = Table("file", "age", "size", "")
    for file in reversed(stored.files):
        table.add_row(
            str(file.path), duration(now - file.at), size(file.size_bytes), Text(file.problem or "", style="red")
        )
    return table


def shown(stored: Stored, copy: Copy, manifest: Manifest, now: float) -> RenderableType:
    """One backup, whole."""
    facts = Table.grid(padding=(0, 2))
    holders = [one.name for one in stored.copies if any(found.id == manifest.id for found in one.manifests)]
    decision = tiers_of(copy)[manifest.id]
    taken = f"{moment(manifest.started_at)}, {duration(now - manifest.started_at)} ago"
    said = {
        "backup": manifest.id,
        "taken": f"{taken}, in {duration(manifest.seconds)}",
        "result": "good" if manifest.succeeded else f"failed: {manifest.error}",
        "engine": f"{manifest.engine}, PostgreSQL {manifest.server_version}, pg_dump {manifest.tool_version}",
        "stored in": ", ".join(holders),
        "size": f"{size(manifest.size_bytes)}, of which {size(manifest.added_bytes)} were new",
        "kept": "; ".join(decision.reasons),
        "proven": _proof(manifest, now),
    }
    if manifest.pin is not None:
        said["pinned"] = f"{manifest.pin.reason} ({manifest.pin.by}, {moment(manifest.pin.at)})"
    for name, value in said.items():
        facts.add_row(Text(name, style="bold"), Text(value))
    return Group(facts, *(_contents(one) for one in manifest.snapshots))


def _proof(manifest: Manifest, now: float) -> str:
    proof = manifest.proof
    if proof is None:
        return "no restore of it was tested"
    return (
        f"restored in {duration(proof.seconds)} on {proof.where or 'a scratch server'}, {duration(now - proof.at)} ago"
    )


def _contents(snapshot: DatabaseSnapshot) -> RenderableType:
    table = Table("table", "rows", "stored", title=f"{snapshot.name}", title_justify="left")
    table.columns[1].justify = table.columns[2].justify = "right"
    copies = {(one.schema_name, one.name): one for one in snapshot.copies}
    for one in snapshot.tables:
        copy = copies.get((one.schema_name, one.name))
        rows = copy.rows if copy is not None else one.rows
        table.add_row(
            Text(f"{one.schema_name}.{one.name}"),
            "?" if rows is None else f"{rows:,}",
            "" if copy is None else size(copy.stored_bytes),
        )
    said = ", ".join(f"{name} {version}" for name, version in snapshot.extensions.items())
    return Group(table, Text(f"extensions {said}; revision {', '.join(snapshot.revisions) or 'none'}", style="dim"))


def decisions(copy: Copy) -> RenderableType:
    """What stays and why, as a prune would do it now."""
    title = Text(copy.name, style="bold")
    if copy.problem is not None:
        return Group(title, Text(f"  cannot be read: {copy.problem}", style="red"))
    table = Table("backup", "", "why")
    for decision in reversed(copy.decisions):
        verdict = Text("keep", style="green") if decision.keep else Text("remove", style="red")
        table.add_row(decision.id, verdict, Text("; ".join(decision.reasons)))
    removed = sum(not decision.keep for decision in copy.decisions)
    return Group(title, table, Text(f"{removed} of {len(copy.decisions)} would be removed"))


def calendar(copy: Copy, now: float, days: int) -> RenderableType:
    """Weeks as columns, Monday first: each day with the slowest series that keeps a backup of it."""
    known = tiers_of(copy)
    best: defaultdict[date, str] = defaultdict(str)
    count: defaultdict[date, int] = defaultdict(int)
    for manifest in copy.manifests:
        day = datetime.fromtimestamp(manifest.started_at, UTC).date()
        tiers = known[manifest.id].tiers
        mark = "x" if not manifest.succeeded else max((_rank(tier) for tier in tiers), default="0")
        count[day] += manifest.succeeded
        if not best[day] or best[day] == "x" or (mark != "x" and mark > best[day]):
            best[day] = mark
    today = datetime.fromtimestamp(now, UTC).date()
    first = today - timedelta(days=days - 1)
    first -= timedelta(days=first.weekday())
    grid = Table.grid(padding=(0, 1))
    for weekday in range(7):
        cells = [Text(f"{first + timedelta(days=weekday):%a}", style="dim")]
        day = first + timedelta(days=weekday)
        while day <= today:
            cells.append(_cell(best[day]))
            day += timedelta(days=7)
        grid.add_row(*cells)
    legend = Text("  ").join(Text(f"{_LETTER[series]} {series}", style=_STYLE[series]) for series in SERIES)
    legend.append("  + not kept by a series", style="dim").append("  x failed", style="red").append(
        "  · none", style="dim"
    )
    title = Text(copy.name, style="bold").append(
        f"  {first} to {today}, {sum(count.values())} good backups", style="dim"
    )
    return Group(title, grid, legend)


def _rank(series: Series) -> str:
    return str(SERIES.index(series) + 1)


def _cell(mark: str) -> Text:
    if mark in {"", "0", "x"}:
        return {"": Text("·", style="dim"), "0": Text("+", style="dim"), "x": Text("x", style="red")}[mark]
    series = SERIES[int(mark) - 1]
    return Text(_LETTER[series], style=_STYLE[series])


def simulation(stored: Stored, result: Simulation, interval: timedelta) -> RenderableType:
    """What is kept after some days of the policy."""
    table = Table("after", "backups", *SERIES, "stored")
    for column in table.columns:
        column.justify = "right"
    steps = sorted({1, 7, 30, 90, 365, len(result.days)})
    for day in (result.days[step - 1] for step in steps if step <= len(result.days)):
        series = [str(day.series.get(name, 0)) for name in SERIES]
        table.add_row(f"{day.day} d", str(day.backups), *series, size(day.stored_bytes))
    head = f"{stored.environment.name}: a backup every {duration(interval.total_seconds())}, {result.taken} in all"
    return Group(Text(head, style="bold"), table, Text(f"at most {size(result.peak_bytes)} stored"))
