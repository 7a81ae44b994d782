"""Vector indexes and advice on them, for a terminal and as JSON."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from daemon.cli._index_read import Database, Indexed
from daemon.cli._words import figure, figures_line
from fleet.vectors.advice import Advice, Known, advise
from fleet.vectors.health import Unindexed
from fleet.vectors.recommended import HALFVEC_SINCE, most_dimensions, parse_version, search_setting

_SIGNS = {"mend": ("✗", "bold red"), "improve": ("↑", "yellow"), "consider": ("·", "cyan")}
_RIGHT = {"rows", "new", "size", "a row", "scans"}
_OF_TABLES = {"vacuum", "analyze"}


def listing(environments: Iterable[Indexed]) -> RenderableType:
    """One table an environment, a line an index; what is wrong with it stands at the end."""
    parts: list[RenderableType] = []
    for one in environments:
        known = [each for database in one.databases for each in database.known]
        parts += [_title(one), *([_table(one, len(one.databases) > 1)] if known else [Text("  no vector index")])]
        parts += _troubles(one)
    return Group(*parts)


def advices(found: Indexed) -> RenderableType:
    """Each index with what to do about it, what is wrong first."""
    parts: list[RenderableType] = [_title(found)]
    for database in found.databases:
        for known in database.known:
            parts.append(Text(f"{database.name}  {_name(known)}", style="bold"))
            parts.append(Text(f"  {_summary(known)}", style="dim"))
            parts += [_said(found, known, advice) for advice in advise(known)] or [Text("  ✓ nothing to do", "green")]
        parts += [_without(database, column) for column in database.unindexed]
    if len(parts) == 1:
        parts.append(Text("  no vector index"))
    return Group(*parts, *_troubles(found))


def told(found: Indexed, *, with_advice: bool = False) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "environment": found.environment.name,
        "problems": found.problems,
        "databases": [
            {
                "name": database.name,
                "server": database.server,
                "indexes": [_known(known, with_advice=with_advice) for known in database.known],
                "unindexed": database.unindexed,
                "remarks": database.remarks,
            }
            for database in found.databases
        ],
    }


def _known(known: Known, *, with_advice: bool) -> dict[str, Any]:
    health = known.health
    said: dict[str, Any] = {
        "index": health.index,
        "scans": health.scans,
        "table_scans": health.table_scans,
        "dead_rows": health.dead_rows,
        "build_rows": health.build_rows,
        "search": health.search,
        "use": known.use,
        "misfits": known.misfits,
    }
    more = {"promised_recall": known.promised, "curve": known.curve, "advice": advise(known)}
    return said | more if with_advice else said


def _title(found: Indexed) -> Text:
    title = Text(found.environment.name, style="bold").append(f"  {found.environment.tier.value}", style="dim")
    versions = sorted({database.server.vector_version for database in found.databases})
    return title.append(f"  pgvector {', '.join(versions)}" if versions else "", style="dim")


def _table(found: Indexed, many: bool) -> Table:
    table = Table("index", "of", "kind", "rows", "new", "size", "a row", "scans", "searches", "planner", "to do")
    for column in table.columns:
        column.justify = "right" if column.header in _RIGHT else "left"
    for database in found.databases:
        for known in database.known:
            index = known.health.index
            where = f"{index.schemaname}.{index.relname}" + (f" ({database.name})" if many else "")
            rows = known.health.index.rows
            table.add_row(
                _plain(index.indexrelname),
                _plain(where),
                _kind(known),
                "?" if rows is None else f"{rows:,.0f}",
                _new(known),
                figure("bytes", float(index.size_bytes)),
                figure("bytes", index.size_bytes / rows) if rows else "?",
                f"{known.health.scans:,}",
                _searches(known),
                _planner(known),
                _to_do(advise(known)),
            )
    return table


def _kind(known: Known) -> str:
    """Method, its options in the order of pgvector's README, distance; type."""
    index = known.health.index
    options = "/".join(str(value) for value in index.options.values())
    return f"{index.method.value} {options} {index.distance}\n{index.type_name}({index.dimensions or '?'})"


def _new(known: Known) -> str:
    """The share of the rows that came after the build."""
    rows, built = known.health.index.rows, known.health.build_rows
    return "?" if built is None or not rows else f"{max(0.0, 1 - built / rows):.0%}"


def _searches(known: Known) -> str:
    name = search_setting(known.health.index.method).partition(".")[2]
    return "\n".join(f"{name} {value}{f' ({role})' if role else ''}" for role, value in known.health.search.items())


def _planner(known: Known) -> Text:
    if not known.health.index.valid:
        return Text("invalid", style="bold red")
    if known.use is None:
        return Text("?", style="dim")
    if known.use.used:
        return Text("uses it", style="green")
    causes = ", ".join(dict.fromkeys(reason.cause.value for reason in known.use.reasons))
    return Text(f"does not: {causes}", style="yellow")


def _to_do(found: Sequence[Advice]) -> Text:
    chosen = [advice for advice in found if advice.level != "consider"]
    if not chosen:
        return Text("✓", style="green")
    return Text("\n").join(Text(f"{_SIGNS[one.level][0]} {one.subject}", _SIGNS[one.level][1]) for one in chosen)


def _summary(known: Known) -> str:
    index, rows = known.health.index, known.health.index.rows
    said = f"{_kind(known)}, ".replace("\n", " ") + ("rows unknown" if rows is None else f"{rows:,.0f} rows")
    said += f", {figure('bytes', float(index.size_bytes))}"
    measured = "; ".join(
        f"{point.setting}: {point.recall.ratio:.0%} in {1000 * point.seconds:.1f} ms" for point in known.curve
    )
    return said + (f"\n  recall at {search_setting(index.method)} {measured}" if measured else "")


def _said(found: Indexed, known: Known, advice: Advice) -> Text:
    sign, style = _SIGNS[advice.level]
    line = Text("  ").append(f"{sign} {advice.subject}: ", style).append(_plain(advice.text))
    if advice.why:
        line.append(f"\n      {_plain(advice.why)}", "dim")
    if advice.expected:
        line.append(f"\n      expected: {figures_line(advice.expected)}")
    if advice.action is not None:
        line.append(f"\n      {command(found.environment.name, known, advice)}", "cyan")
    return line


def command(environment: str, known: Known, advice: Advice) -> str:
    """What to type to have it done."""
    names: Mapping[str, Any] = {name: known.health.index.object[name] for name in ("datname", "schemaname", "relname")}
    if advice.action not in _OF_TABLES:
        names = {**names, "indexrelname": known.health.index.indexrelname}
    said = " ".join(f"-p {shlex.quote(f'{name}={value}')}" for name, value in {**names, **advice.parameters}.items())
    return _plain(f"custode act {advice.action} {environment} {said}")


def _without(database: Database, column: Unindexed) -> Text:
    where = f"{database.name}  {column.schemaname}.{column.relname}.{column.column}"
    line = Text(_plain(where), "bold").append(f"\n  ↑ no vector index on {column.rows:,.0f} rows: ", "yellow")
    most = most_dimensions(column.type_name)
    if column.dimensions is None:
        return line.append("give the column its dimensions, then index it")
    if most is None or column.dimensions <= most:
        return line.append("every search by distance reads them all; create an HNSW index")
    half = most_dimensions("halfvec") or 0
    if parse_version(database.server.vector_version) >= HALFVEC_SINCE and column.dimensions <= half:
        return line.append(f"more than {most:,} dimensions: index the column cast to halfvec({column.dimensions})")
    return line.append(f"more than {most:,} dimensions: pgvector {HALFVEC_SINCE[0]}.{HALFVEC_SINCE[1]} indexes halves")


def _troubles(found: Indexed) -> list[RenderableType]:
    lines = [f"{name or found.environment.name} cannot be read: {why}" for name, why in found.problems.items()]
    lines += [remark for database in found.databases for remark in database.remarks]
    return [Text(f"  ! {_plain(line)}", style="red") for line in lines]


def _name(known: Known) -> str:
    index = known.health.index
    return _plain(f"{index.schemaname}.{index.indexrelname} of {index.relname}")


def _plain(text: str) -> str:
    """Names in a database may hold what a terminal obeys."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
