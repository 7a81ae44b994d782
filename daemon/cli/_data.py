"""`custode data`: what becomes of production's data before it may be copied to another environment."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any

import typer
import yaml
from rich.markup import escape
from rich.table import Table as Grid
from rich.text import Text

from daemon.cli._complete import environments
from daemon.cli._console import ConfigOption, JsonOption, out, print_json
from daemon.cli._data_read import Database, preview, read_databases, read_ends
from fleet.data.classify import Proposal
from fleet.data.decisions import Decisions
from fleet.data.tables import Table

data = typer.Typer(help="Copy production's data without anybody's personal data.", no_args_is_help=True)
TargetArgument = Annotated[
    str, typer.Argument(autocompletion=environments, help="Where the data would go.", show_default=False)
]
SourceOption = Annotated[
    str | None, typer.Option(autocompletion=environments, help="Where it comes from [default: the only production].")
]
_SHOWN_CHARACTERS = 40


@data.command("plan")
def plan(
    target: TargetArgument, *, source: SourceOption = None, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Say what a refresh would make of each table. Exit status 1: something must be decided first."""
    ends = read_ends(config, target, source)
    databases = read_databases(ends)
    if json:
        print_json({"lacks_key": ends.lacks_key, "databases": [_planned(ends.decisions, each) for each in databases]})
    else:
        for database in databases:
            _print_plan(ends.decisions, database)
        if ends.lacks_key:
            out.print(Text("✗ ", "bold red").append("data.mask_key: the policy names no key for masks", "none"))
    raise typer.Exit(int(ends.lacks_key or any(database.undecided for database in databases)))


@data.command("classify")
def classify(
    target: TargetArgument, *, source: SourceOption = None, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Propose what to do with all that nobody decided on, ready for the configuration. Exit status 1: there is some."""
    ends = read_ends(config, target, source)
    proposals = [each for database in read_databases(ends, classify=True) for each in database.proposals]
    if json:
        print_json([_proposed(each) for each in proposals])
    elif not proposals:
        out.print(f"[green]✓[/] everything is decided on for {escape(target)}")
    else:
        out.print(Text(_yaml(target, proposals)), soft_wrap=True)
    raise typer.Exit(int(bool(proposals)))


@data.command("mask")
def mask(
    target: TargetArgument,
    table: Annotated[str, typer.Argument(help="Name, or schema.name.", show_default=False)],
    *,
    show: Annotated[bool, typer.Option("--preview", help="Print masked rows; nothing is written anywhere.")] = False,
    rows: Annotated[int, typer.Option(min=1, max=100, help="So many.")] = 5,
    database: Annotated[str | None, typer.Option("--database", "-d", help="[default: that of the URL]")] = None,
    source: SourceOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show how rows of a table look once they are masked. What they hold now is not shown."""
    if not show:
        raise typer.BadParameter("only --preview is possible: rows are masked as a refresh copies them")
    head, *masked = preview(read_ends(config, target, source), database, table, rows)
    if json:
        print_json([dict(zip(head, row, strict=True)) for row in masked])
        return
    grid = Grid(*(escape(name or "") for name in head))
    for row in masked:
        grid.add_row(*(Text("NULL", "dim") if value is None else Text(value[:_SHOWN_CHARACTERS]) for value in row))
    out.print(grid)


def _print_plan(decisions: Decisions, database: Database) -> None:
    grid = Grid(title=f"database {escape(database.name)}", title_justify="left", box=None)
    for name in ("table", "rows", "what becomes of it"):
        grid.add_column(name, justify="right" if name == "rows" else "left")
    for table in database.tables:
        grid.add_row(Text(table.shown), f"~{table.rows:,}", Text(_summary(decisions, table)))
    out.print(grid)
    for each in database.undecided:
        out.print(Text("✗ ", "bold red").append(str(each), "none"), soft_wrap=True)
    if database.undecided:
        out.print("[cyan]  hint: custode data classify proposes what to write[/]")


def _summary(decisions: Decisions, table: Table) -> str:
    decided = decisions.of(table)
    if decided is None:
        return "nobody decided"
    if decided.columns is None:
        return "emptied"
    changed = [
        f"{column.name} {decided.columns[column.name]}"
        for column in table.columns
        if column.name in decided.columns and str(decided.columns[column.name]) != "keep"
    ]
    return ", ".join(changed) or "kept"


def _planned(decisions: Decisions, database: Database) -> dict[str, Any]:
    tables = {table.shown: decisions.of(table) for table in database.tables}
    return {
        "database": database.name,
        "tables": {name: None if each is None else each.written() for name, each in tables.items()},
        "undecided": [
            {"table": each.table.shown, "column": each.column and each.column.name, "reason": each.reason}
            for each in database.undecided
        ],
        "unused": database.unused,
    }


def _proposed(proposal: Proposal) -> dict[str, Any]:
    undecided = proposal.undecided
    return {
        "table": undecided.table.shown,
        "column": undecided.column and undecided.column.name,
        "type": undecided.column and undecided.column.type,
        "decision": proposal.decision.written(),
        "reason": proposal.reason,
    }


def _yaml(target: str, proposals: Iterable[Proposal]) -> str:
    """As it is pasted into the configuration, each with its reason; names are written as YAML needs them."""
    lines = ["# proposals: read each before you take it", "environments:", f"  {target}:", "    policy:"]
    lines += ["      data:", "        columns:"]
    table = None
    for each in proposals:
        if each.undecided.column is None:
            continue
        if each.undecided.table != table:
            table = each.undecided.table
            lines.append(f"          {_scalar(table.shown)}:")
        decision = _scalar(each.decision.written())
        lines.append(f"            {_scalar(each.undecided.column.name)}: {decision}  # {each.reason}")
    return "\n".join(lines)


def _scalar(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def register(app: typer.Typer) -> None:
    for part in ("_refresh", "_scan"):
        if find_spec(f"daemon.cli.{part}") is not None:
            import_module(f"daemon.cli.{part}").register(data)
    app.add_typer(data, name="data")
