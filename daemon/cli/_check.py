"""`custode check`: everything that is wrong with the configuration, and with `--connect` with the environments."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from importlib import resources
from typing import Annotated

import typer
from rich.text import Text

from daemon.check import Finding, check_connect, check_offline
from daemon.cli._console import ConfigOption, JsonOption, config_path, out, print_json
from daemon.config import ConfigError, LogSettings, load
from daemon.logs import configure_logs

_SIGNS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "bold red")}


def check(
    config: ConfigOption = None,
    connect: Annotated[bool, typer.Option("--connect", help="Reach every environment too.")] = False,
    example: Annotated[bool, typer.Option("--example", help="Print a configuration to start from, and exit.")] = False,
    json: JsonOption = False,
) -> None:
    """Check the configuration; exit status 1 when something must be mended, 2 when it cannot be used at all."""
    if example:
        sys.stdout.write(resources.files("daemon.config").joinpath("example.yml").read_text(encoding="utf-8"))
        return
    configure_logs(LogSettings(level="error"))
    try:
        settings = load(config_path(config))
    except ConfigError as error:
        if not json:
            raise
        print_json({"problems": error.problems})
        raise typer.Exit(2) from None
    report = asyncio.run(check_offline(settings))
    if connect:
        report += asyncio.run(check_connect(settings))
    if json:
        print_json({"findings": report.findings})
    else:
        print_report(report.findings)
    raise typer.Exit(report.exit_code)


def print_report(findings: Sequence[Finding]) -> None:
    """Findings below what they are about, with a hint on a line of its own."""
    for environment in dict.fromkeys(finding.environment for finding in findings):
        out.print(Text(environment or "configuration", style="bold"))
        for finding in (finding for finding in findings if finding.environment == environment):
            sign, style = _SIGNS[finding.level]
            line = Text.assemble("  ", (sign, style), f" {finding.subject}: {finding.message}")
            if finding.hint:
                line.append(f"\n      {finding.hint}", style="cyan")
            out.print(line)
    wrong = sum(finding.level == "error" for finding in findings)
    out.print(Text(f"{wrong} to be mended" if wrong else "Nothing to be mended.", style="red" if wrong else "green"))


def register(app: typer.Typer) -> None:
    app.command("check")(check)
