"""`custode index probe`: the recall of vector indexes, measured from here without a daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import asyncpg
import typer
from rich.table import Table
from rich.text import Text

from daemon import clock
from daemon.cli._complete import environments
from daemon.cli._console import ConfigOption, JsonOption, config_path, out, print_json
from daemon.cli._words import duration
from daemon.config import LogSettings, load
from daemon.logs import configure_logs
from fleet.backups.facts import databases_of
from fleet.connections import Connection, Connections
from fleet.environment import Environment
from fleet.errors import ActionError, ConnectError
from fleet.secrets import Secrets
from fleet.vectors import VectorIndex, vector_indexes
from fleet.vectors.allowance import Allowance, cost_of
from fleet.vectors.exact import ExactSearch
from fleet.vectors.probe import cheap_probe, read_exact, search_curve, usual_settings
from fleet.vectors.recall import K, Point, reaching
from fleet.vectors.recommended import search_setting
from fleet.vectors.sample import sample_queries

_STATEMENT_SECONDS, _SEARCH_SECONDS = 60.0, 120.0
_FAILURES = (ActionError, ConnectError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


@dataclass(frozen=True, slots=True)
class Asked:
    exact: bool
    settings: tuple[int, ...]
    target: float | None
    queries: int
    may_evict: bool


@dataclass(frozen=True, slots=True)
class Probed:
    """`own` is at the setting that a session has, `curve` at others; `problem` where it cannot be probed."""

    index: VectorIndex
    exact: bool
    promised: float | None
    own: Point | None = None
    curve: tuple[Point, ...] = ()
    problem: str | None = None

    def reaching(self, target: float | None) -> Point | None:
        wanted = self.promised if target is None else target
        known = [self.own, *self.curve] if self.own is not None else []
        return None if wanted is None else reaching(known, wanted)


def probe(
    environment: Annotated[str, typer.Argument(autocompletion=environments, help="Where.", show_default=False)],
    name: Annotated[str | None, typer.Argument(metavar="[INDEX]", help="This index alone [default: all].")] = None,
    *,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with all rows: the table is read once.")] = False,
    settings: Annotated[
        str | None, typer.Option(help="Try these too: 1,5,10 of hnsw.ef_search or ivfflat.probes; with --exact.")
    ] = None,
    target: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Find a setting of this recall [default: the promised].")
    ] = None,
    queries: Annotated[int, typer.Option(min=10, max=1000, help="How many searches.")] = 100,
    may_evict: Annotated[
        bool, typer.Option("--may-evict", help="Even if it pushes out of memory what others work with.")
    ] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Measure how many of the 10 nearest rows searches find. Exit status 1: less than promised, or not measured."""
    configure_logs(LogSettings(level="error"))
    environments = load(config_path(config)).environments
    if environment not in environments:
        raise typer.BadParameter(f"{environment!r} is no environment; there are: {', '.join(environments)}")
    chosen = _settings(settings)
    asked = Asked(exact or bool(chosen), chosen, target, queries, may_evict)
    found = asyncio.run(_probe_all(environments[environment], name, asked))
    if name is not None and not found:
        raise typer.BadParameter(f"{environment} has no vector index {name!r}; custode index list {environment}")
    if json:
        print_json([_told(one, asked) for one in found])
    else:
        _show(found, asked)
    raise typer.Exit(int(any(_is_wrong(one, asked) for one in found)))


def _settings(given: str | None) -> tuple[int, ...]:
    try:
        wanted = tuple(int(part) for part in given.split(",")) if given else ()
    except ValueError:
        raise typer.BadParameter(f"{given!r} are no numbers; write them like 1,5,10") from None
    if any(setting < 1 for setting in wanted):
        raise typer.BadParameter("a setting is 1 at least")
    return wanted


async def _probe_all(environment: Environment, name: str | None, asked: Asked) -> list[Probed]:
    secrets = Secrets(clock.monotonic)
    connections = Connections(environment, secrets, statement_seconds=_STATEMENT_SECONDS)
    found: list[Probed] = []
    try:
        for database in await databases_of(environment, connections):
            async with connections.acquire(database) as connection:
                indexes = [index for index in await vector_indexes(connection) if name in {None, *_names(index)}]
                found += [await _probe(environment, secrets, connection, index, asked) for index in indexes]
    finally:
        await connections.close()
    return found


def _names(index: VectorIndex) -> tuple[str, str]:
    return index.indexrelname, f"{index.schemaname}.{index.indexrelname}"


async def _probe(
    environment: Environment, secrets: Secrets, connection: Connection, index: VectorIndex, asked: Asked
) -> Probed:
    promised = environment.policy.vectors.promised(index.method.value)
    try:
        points = await _points(environment, secrets, connection, index, asked)
    except _FAILURES as error:
        return Probed(index, asked.exact, promised, problem=str(error) or type(error).__name__)
    return Probed(index, asked.exact, promised, points[0], tuple(points[1:]))


async def _points(
    environment: Environment, secrets: Secrets, connection: Connection, index: VectorIndex, asked: Asked
) -> list[Point]:
    """Raises what `_FAILURES` holds."""
    policy = environment.policy.vectors
    share = None if asked.may_evict else policy.probe_share
    cost = await cost_of(connection, index)
    if not index.valid or cost is None:
        raise ActionError("it is invalid: nothing is searched through it")
    sql = policy.queries_of(index.schemaname, index.indexrelname)
    queries = await sample_queries(connection, index, asked.queries, sql)
    if not queries:
        raise ActionError("its table has no rows to search for")
    if not asked.exact:
        allowance = Allowance(index, cost.searches_may_read(share, index), _SEARCH_SECONDS)
        found = await cheap_probe(connection, index, queries, allowance)
        if found is None:
            raise ActionError("its pages are not in shared_buffers, and may not be brought in without --may-evict")
        return [found]
    if not cost.pass_fits(share):
        raise ActionError("to read its table would push out of memory what others work with; --may-evict does it")
    search = ExactSearch(index, queries, K)
    await read_exact(environment, secrets, index, search)
    settings: Sequence[int | None] = [None, *(asked.settings or usual_settings(index))]
    points = await search_curve(connection, index, queries, search.distances, settings)
    if not points:
        raise ActionError("its table has no rows to be found")
    return points


def _is_wrong(one: Probed, asked: Asked) -> bool:
    wanted = one.promised if asked.target is None else asked.target
    return one.own is None or (wanted is not None and one.own.recall.ratio < wanted)


def _told(one: Probed, asked: Asked) -> dict[str, Any]:
    return {
        "index": one.index,
        "exact": one.exact,
        "promised": one.promised,
        "own": one.own,
        "curve": one.curve,
        "reaching": one.reaching(asked.target),
        "problem": one.problem,
    }


def _show(found: Sequence[Probed], asked: Asked) -> None:
    if not found:
        out.print("no vector index")
    for one in found:
        out.print(Text(f"{one.index.datname}  {one.index.schemaname}.{one.index.indexrelname}", style="bold"))
        if one.own is None:
            out.print(Text(f"  ✗ {one.problem}", style="red"))
            continue
        table = Table(search_setting(one.index.method), f"recall@{K}", "95 %", "median", "searches")
        for number, point in enumerate((one.own, *one.curve)):
            recall = point.recall
            label = f"{point.setting}{' (as sessions have it)' if number == 0 else ''}"
            bounds = f"{recall.low:.3f} to {recall.high:.3f}"
            table.add_row(label, f"{recall.ratio:.3f}", bounds, _short(point.seconds), str(recall.queries))
        out.print(table)
        out.print(Text(f"  {_verdict(one, asked)}"))


def _verdict(one: Probed, asked: Asked) -> str:
    wanted = one.promised if asked.target is None else asked.target
    how = "compared with all rows" if one.exact else "compared with what the index finds at a high setting"
    if wanted is None or one.own is None:
        return how
    if (least := one.reaching(asked.target)) is not None:
        return f"{how}; {search_setting(one.index.method)} = {least.setting} reaches {wanted:.2f}"
    return f"{how}; {wanted:.2f} is not reached" + ("" if one.curve else " (--exact tries other settings)")


def _short(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else duration(seconds)


def register(group: typer.Typer) -> None:
    group.command("probe")(probe)
