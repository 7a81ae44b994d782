"""Squawk's opinion of a migration: a linter of PostgreSQL's DDL, as a program out of a wheel."""

from __future__ import annotations

import asyncio
import json
import sysconfig
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import ProcessError
from fleet.process import running

_SECONDS = 30.0
_HINT = "install squawk-cli, which brings it"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule says about a line of a script (counted from 1)."""

    rule: str
    line: int
    message: str
    help: str = ""

    def __str__(self) -> str:
        return f"{self.rule}: {self.message}" + (f" {self.help}" if self.help else "")


async def lint(script: str, *, server: int, ignored: Collection[str] = ()) -> list[Finding]:
    """Judge a script for a server of this major version. No configuration file of squawk is read.

    Raises:
        ProcessError: squawk is not there, or says what cannot be understood.
    """
    if not script.strip():
        return []
    command: list[str | Path] = [_program(), "--reporter", "json", "--pg-version", f"{server}.0"]
    command += ["--stdin-filepath", "migration.sql", *(f"--exclude={rule}" for rule in ignored)]
    async with running(command, stdin=asyncio.subprocess.PIPE, cwd=Path("/")) as process:
        try:
            async with asyncio.timeout(_SECONDS):
                said, complaint = await process.communicate(script.encode())
        except TimeoutError as error:
            raise ProcessError(f"squawk does not end within {_SECONDS:g} s") from error
    try:
        return [_finding(each) for each in json.loads(said)]
    except (ValueError, KeyError, TypeError) as error:
        told = complaint.decode(errors="replace").strip()[:300] or said.decode(errors="replace")[:300]
        raise ProcessError(f"squawk ended with status {process.returncode}: {told}", hint=_HINT) from error


def _program() -> Path | str:
    """Beside our own Python, where pip has put it; else on the PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "squawk"
    return beside if beside.exists() else "squawk"


def _finding(each: dict[str, object]) -> Finding:
    line = each["line"]
    if not isinstance(line, int):
        raise TypeError("a line is a number")
    return Finding(str(each["rule_name"]), line + 1, str(each["message"]), str(each.get("help") or ""))
