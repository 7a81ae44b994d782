"""Temporary folders that do not outlive their process for long: what a killed one left, the next one takes away."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_HELD = "held"  # locked by the process that uses the folder


def _nothing(_folder: Path) -> None:
    return


@contextmanager
def workspace(prefix: str, *, mode: int = 0o700) -> Iterator[Path]:
    """A new folder below the system's one for temporary files; gone when it is left. Blocks a moment."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        folder.chmod(mode)
        with (folder / "new").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            (folder / "new").rename(folder / _HELD)  # locked before anybody can try it
            yield folder
    finally:
        _remove(folder)


def sweep(prefix: str, before: Callable[[Path], None] = _nothing) -> None:
    """Remove folders of that prefix that no process holds; `before` is asked of each first. Blocks."""
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with suppress(OSError), os.fdopen(os.open(folder / _HELD, os.O_RDONLY | os.O_NOFOLLOW)) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            before(folder)
            _remove(folder)


def _remove(folder: Path) -> None:
    """What tells that nobody holds it goes last: a removal that is cut off can be taken up."""
    for inner in folder.iterdir():
        if inner.is_dir():
            shutil.rmtree(inner, ignore_errors=True)
        elif inner.name != _HELD:
            inner.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
