"""`custode rules`: check rule files and run their unit tests, as promtool does."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from daemon.cli._console import JsonOption, out, print_json
from rules import Dialect, shipped
from rules.files import RuleFile, read_file
from rules.unittests import Outcome, describe_failure, run_file

commands = typer.Typer(no_args_is_help=True, help="Check rule files in Prometheus's format, and run their unit tests.")


class Compat(StrEnum):
    PROMETHEUS_2 = "2"
    PROMETHEUS_3 = "3"

    @property
    def dialect(self) -> Dialect:
        return Dialect(compat=2 if self is Compat.PROMETHEUS_2 else 3)


CompatOption = Annotated[
    Compat, typer.Option("--promql-compat", help="Whose PromQL, and whose names: of Prometheus 2 or 3.")
]
FilesArgument = typer.Argument(exists=True, dir_okay=False, readable=True, show_default=False, help="The files.")


@commands.command("check")
def check_files(
    files: Annotated[list[Path] | None, FilesArgument] = None,
    lint: Annotated[bool, typer.Option(help="Warn of duplicate rules and the like.")] = True,
    json: JsonOption = False,
    promql_compat: CompatOption = Compat.PROMETHEUS_3,
) -> None:
    """Check rule files, those that Custode ships when none is named. Exit status 1 when something must be mended."""
    found = [read_file(file, dialect=promql_compat.dialect) for file in files or shipped()]
    if json:
        print_json({"files": [_as_data(file, lint) for file in found]})
    else:
        for file in found:
            _print_file(file, lint)
    raise typer.Exit(any(file.problems for file in found))


@commands.command("test")
def run_tests(
    files: Annotated[list[Path], FilesArgument],
    json: JsonOption = False,
    promql_compat: CompatOption = Compat.PROMETHEUS_3,
) -> None:
    """Run files of promtool's unit-test format on our own engine. Exit status 1 when a test fails."""
    outcomes = []
    for file in files:
        outcome = run_file(file, promql_compat.dialect)
        outcomes.append(outcome)
        if not json:
            _print_outcome(outcome)
    if json:
        print_json({"files": outcomes})
    raise typer.Exit(not all(outcome.passed for outcome in outcomes))


def _as_data(file: RuleFile, lint: bool) -> dict[str, object]:
    warnings = file.warnings if lint else ()
    return {"file": file.name, "rules": _count(file), "problems": file.problems, "warnings": warnings}


def _count(file: RuleFile) -> int:
    return sum(len(group.rules) for group in file.groups)


def _print_file(file: RuleFile, lint: bool) -> None:
    _say(f"Checking {file.name}")
    if file.problems:
        _say("  FAILED:", "bold red")
        _say_all(file.problems)
    else:
        _say(f"  SUCCESS: {_count(file)} rules found", "green")
    if lint and file.warnings:
        _say("  WARNING:", "yellow")
        _say_all(file.warnings)


def _print_outcome(outcome: Outcome) -> None:
    _say(f"Unit Testing: {outcome.file}")
    for warning in outcome.warnings:
        _say(f"  WARNING: {warning}", "yellow")
    if outcome.passed:
        _say(f"  SUCCESS: {outcome.tests} tests, {outcome.cases} expectations", "green")
        return
    _say("  FAILED:", "bold red")
    _say_all(outcome.problems)
    for failure in outcome.failures:
        _say_all(describe_failure(outcome.file, failure))


def _say_all(lines: Iterable[object]) -> None:
    for line in lines:
        _say(f"  {line}")


def _say(text: str, style: str = "") -> None:
    out.print(Text(text, style=style), soft_wrap=True)


def register(app: typer.Typer) -> None:
    app.add_typer(commands, name="rules")
