"""The one door to child processes: no shell, a list of arguments, dead when we are, output bounded."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fleet.errors import ProcessError

_PR_SET_PDEATHSIG = 1
_STDERR_KEPT = 4000
_libc = ctypes.CDLL(None, use_errno=True)
# kill -9 of the daemon must not leave pg_dump running; acts on the death of the forking thread, so children are started
# from the event loop's thread. util-linux does it in the child: Python would have to copy all its page tables and run
# itself there first, which holds the event loop up for 10 to 80 ms in a large, busy process
_SETPRIV = shutil.which("setpriv")
if _SETPRIV is not None and Path(_SETPRIV).resolve().name != "setpriv":
    _SETPRIV = None  # BusyBox has one that cannot


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@asynccontextmanager
async def running(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    stdin: int = asyncio.subprocess.DEVNULL,
    cwd: Path | None = None,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a child with piped output; on leaving, an unfinished child is terminated, then killed after 5 s.

    Raises:
        ProcessError: the program does not exist or may not be run.
    """
    words = [_program(command[0], env), *map(str, command[1:])]
    try:
        process = await asyncio.create_subprocess_exec(
            *([_SETPRIV, "--pdeathsig", "TERM"] if _SETPRIV else []),
            *words,
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=env,
            cwd=cwd,
            preexec_fn=None if _SETPRIV else _die_with_parent,
        )
    except OSError as error:
        raise _not_started(command[0], str(error)) from error
    try:
        yield process
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), timeout=5)
            except TimeoutError:
                process.kill()
                await process.wait()


def _program(name: str | Path, env: Mapping[str, str] | None) -> str:
    """The path of a program. Raises ProcessError where there is none that may be run."""
    path = shutil.which(name, path=(os.environ if env is None else env).get("PATH"))
    if path is None:
        raise _not_started(name, "there is no such program, or it may not be run")
    return str(path)


def _not_started(name: str | Path, why: str) -> ProcessError:
    return ProcessError(f"{name} cannot be started: {why}", hint="are the PostgreSQL client tools installed?")


async def run(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> str:
    """Run a child to its end and return what it printed.

    Raises:
        ProcessError: it cannot be started or ended with another status than 0; the end of its stderr is in the message.
    """
    async with running(command, env=env) as process:
        stdout, stderr = await process.communicate()
        check_exit(command, process, stderr)
    return stdout.decode(errors="replace")


def check_exit(command: Sequence[str | Path], process: asyncio.subprocess.Process, stderr: bytes) -> None:
    """Raise a ProcessError with the end of `stderr` unless the child ended with status 0."""
    if process.returncode != 0:
        said = stderr[-_STDERR_KEPT:].decode(errors="replace").strip()
        raise ProcessError(f"{Path(command[0]).name} ended with status {process.returncode}: {said}")
