"""A directory of this machine (or one mounted into it)."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import stat
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import FileIO
from pathlib import Path
from typing import ClassVar, TypeVar

from pydantic import Field

from fleet.errors import StoreError
from fleet.policy import Strict
from fleet.secrets import Secrets
from fleet.stores._store import Stat, Store, check_key

T = TypeVar("T")

_UNFINISHED = ".unfinished"
_LEFT_OVER_SECONDS = 60.0
_READ_BYTES = 1 << 20
_HINTS = {
    errno.ENOSPC: "the disk is full: free some space, or move the store",
    errno.EDQUOT: "the quota is used up",
    errno.EACCES: "may the user of the daemon write there?",
    errno.EROFS: "it is mounted read-only",
}


class LocalStore(Store):
    """Files below one directory, readable by its owner only.

    An object is written under `.unfinished/`, synced, then renamed to its place, so that it is there whole or not at
    all, even after a loss of power. What a killed process left there is removed by a later `put`: a file that is
    still being written is locked.
    """

    name = "local"
    summary: ClassVar[str] = "a directory on a disk of this machine"

    class Options(Strict):
        path: Path = Field(description="the directory; made when first needed")

    def __init__(self, options: Options, _secrets: Secrets | None = None) -> None:
        self._root = options.path.expanduser().absolute()

    async def put(self, key: str, content: AsyncIterator[bytes]) -> Stat:
        target = self._path(key)
        with _errors(f"cannot store {key}"):
            file, partial_path = await _in_thread(self._begin, lambda begun: _discard(*begun))
            try:
                async for part in content:
                    await _in_thread(partial(_write_all, file, part))
                await _in_thread(partial(self._finish, file, partial_path, target))
                return _stat_of(key, await _in_thread(target.stat))
            finally:
                await _in_thread(partial(_discard, file, partial_path))

    async def put_new(self, key: str, content: bytes | bytearray) -> bool:
        target = self._path(key)
        with _errors(f"cannot store {key}"):
            return await _in_thread(lambda: self._store_new(target, content))

    async def get(self, key: str) -> AsyncIterator[bytes]:
        path = self._path(key)
        with _errors(f"cannot read {key}"):
            file = await _in_thread(partial(FileIO, path), FileIO.close)
            try:
                while part := await _in_thread(partial(file.read, _READ_BYTES)):
                    yield part
            finally:
                file.close()

    async def list(self, prefix: str = "") -> list[Stat]:
        folder = prefix.rpartition("/")[0]
        start = self._path(folder) if folder else self._root
        with _errors(f"cannot list {prefix}"):
            return await _in_thread(lambda: sorted(self._walk(start, prefix), key=lambda found: found.key))

    async def delete(self, key: str) -> None:
        path = self._path(key)
        with _errors(f"cannot delete {key}"):
            await _in_thread(partial(self._delete, path))

    async def stat(self, key: str) -> Stat | None:
        path = self._path(key)
        with _errors(f"cannot look at {key}"):
            try:
                found = await _in_thread(path.stat)
            except (FileNotFoundError, NotADirectoryError):
                return None
        return _stat_of(key, found) if stat.S_ISREG(found.st_mode) else None

    async def free_bytes(self) -> int | None:
        """Bytes that the daemon's user may still write on the file system of the directory."""
        with _errors("cannot tell the free space"):
            usage = await _in_thread(lambda: os.statvfs(_existing(self._root)))
        return usage.f_bavail * usage.f_frsize

    def _path(self, key: str) -> Path:
        check_key(key)
        return self._root / key

    def _begin(self) -> tuple[FileIO, Path]:
        folder = self._root / _UNFINISHED
        _make(folder)
        path = folder / uuid.uuid4().hex
        file = FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w")
        fcntl.flock(file, fcntl.LOCK_EX)
        _remove_left_overs(folder, os.fstat(file.fileno()).st_mtime - _LEFT_OVER_SECONDS)
        return file, path

    def _finish(self, file: FileIO, partial_path: Path, target: Path) -> None:
        os.fsync(file.fileno())
        while True:
            try:
                _make(target.parent)
                partial_path.rename(target)
                return _sync_folder(target.parent)
            except FileNotFoundError:
                # a delete beside us took the folder away, empty for a moment
                if not partial_path.exists():
                    raise

    def _store_new(self, target: Path, content: bytes | bytearray) -> bool:
        with suppress(FileNotFoundError, NotADirectoryError):
            if target.stat().st_size == len(content):
                _sync_folder(target.parent)  # whoever put it there may not have got so far
                return False
        file, partial_path = self._begin()
        try:
            _write_all(file, content)
            self._finish(file, partial_path, target)
        finally:
            _discard(file, partial_path)
        return True

    def _walk(self, start: Path, prefix: str) -> Iterator[Stat]:
        for folder, folders, names in os.walk(start, onerror=_raise_unless_gone):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = Path(folder, name)
                key = path.relative_to(self._root).as_posix()
                if not key.startswith(prefix) or name.startswith("."):
                    continue
                with suppress(FileNotFoundError):  # deleted while we list
                    yield _stat_of(key, path.stat())

    def _delete(self, path: Path) -> None:
        with suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
            _sync_folder(path.parent)
        for folder in path.parents:
            if folder == self._root:
                return
            try:
                folder.rmdir()
            except OSError:  # not empty, or gone already
                return


async def _in_thread(function: Callable[[], T], drop: Callable[[T], object] | None = None) -> T:
    """Run in a thread, and see it end even when we are cancelled: its file must not be closed under it.

    What it gives is then nobody's: `drop` gets it.
    """
    future = asyncio.get_running_loop().run_in_executor(None, function)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        if drop is not None and future.exception() is None:
            drop(future.result())
        raise


@contextmanager
def _errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{what}: {error}", hint=_HINTS.get(error.errno or 0)) from error


def _write_all(file: FileIO, part: bytes | bytearray) -> None:
    view = memoryview(part)
    while view:
        view = view[file.write(view) :]


def _discard(file: FileIO, path: Path) -> None:
    path.unlink(missing_ok=True)  # before its lock goes; renamed by now if all went well
    file.close()


def _make(folder: Path) -> None:
    """Make a folder and those above it, each open to its owner only and durable."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            # made beside us, and perhaps gone again already: then what follows fails and is tried again
            if path.is_file():
                raise
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_left_overs(folder: Path, before: float) -> None:
    for path in folder.iterdir():
        with suppress(OSError):
            if path.stat().st_mtime >= before:
                continue
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held while it is written
                path.unlink()


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())


def _stat_of(key: str, found: os.stat_result) -> Stat:
    return Stat(key, found.st_size, found.st_mtime)
