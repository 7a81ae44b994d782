"""The local store on a real file system: whole objects or none, whatever happens."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from io import FileIO
from pathlib import Path

import pytest

from fleet.errors import StoreError
from fleet.stores import Store
from fleet.stores.local import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(LocalStore.Options(path=tmp_path / "deep" / "store"))


async def parts(*content: bytes) -> AsyncIterator[bytes]:
    for part in content:
        yield part


async def read(store: Store, key: str) -> bytes:
    return b"".join([part async for part in store.get(key)])


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_an_object_comes_back_as_it_was_put(store: LocalStore) -> None:
    content = [os.urandom(3_000_000), b"", b"end"]
    stat = await store.put("a/b c/x.zst", parts(*content))
    assert stat.size_bytes == 3_000_003
    assert await store.stat("a/b c/x.zst") == stat
    assert await read(store, "a/b c/x.zst") == b"".join(content)


async def test_files_and_folders_are_closed_to_others(store: LocalStore, tmp_path: Path) -> None:
    await store.put("a/b/x", parts(b"1"))
    for path in (tmp_path / "deep").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


async def test_a_put_replaces_and_a_delete_is_repeatable(store: LocalStore, tmp_path: Path) -> None:
    await store.put("a/x", parts(b"old"))
    await store.put("a/x", parts(b"new"))
    assert await read(store, "a/x") == b"new"
    await store.delete("a/x")
    await store.delete("a/x")
    assert await store.stat("a/x") is None
    assert not (tmp_path / "deep/store/a").exists(), "an empty folder stays behind"
    with pytest.raises(StoreError, match="cannot read a/x"):
        await read(store, "a/x")


async def test_list_takes_a_prefix_of_the_key(store: LocalStore) -> None:
    for key in ("b/qa/2/m", "b/qa/10/m", "b/qa2/1/m", "c"):
        await store.put(key, parts(b"1"))
    assert [stat.key for stat in await store.list("b/qa/")] == ["b/qa/10/m", "b/qa/2/m"]
    assert [stat.key for stat in await store.list("b/qa")] == ["b/qa/10/m", "b/qa/2/m", "b/qa2/1/m"]
    assert [stat.key for stat in await store.list()] == ["b/qa/10/m", "b/qa/2/m", "b/qa2/1/m", "c"]
    assert await store.list("nothing/here") == []


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../x", "a/../x", "a/./x", "a//x", "a/", "a\nb", "a\x00b", "è", ".unfinished/x", "a/.b"]
)
async def test_a_key_cannot_leave_the_store(store: LocalStore, key: str) -> None:
    with pytest.raises(StoreError, match="cannot be a key"):
        await store.put(key, parts(b"1"))
    with pytest.raises(StoreError, match="cannot be a key"):
        await store.stat(key)


async def test_content_that_fails_leaves_nothing_and_the_old_object(store: LocalStore, tmp_path: Path) -> None:
    await store.put("x", parts(b"old"))

    async def failing() -> AsyncIterator[bytes]:
        yield b"half"
        raise RuntimeError("the source died")

    with pytest.raises(RuntimeError, match="the source died"):
        await store.put("x", failing())
    assert await read(store, "x") == b"old"
    assert files(tmp_path) == [tmp_path / "deep/store/x"]


async def test_a_cancelled_put_leaves_nothing(store: LocalStore, tmp_path: Path) -> None:
    written = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1_000_000
            written.set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(store.put("x", endless()))
        await written.wait()
        task.cancel()
    assert task.cancelled()
    assert files(tmp_path) == []


async def test_what_a_killed_process_left_is_swept_but_not_what_is_being_written(
    store: LocalStore, tmp_path: Path
) -> None:
    await store.put("first", parts(b"1"))
    folder = tmp_path / "deep/store/.unfinished"
    for name in ("dead", "alive", "young"):
        (folder / name).write_bytes(b"half")
    for name in ("dead", "alive"):
        os.utime(folder / name, (0, 0))
    with (folder / "alive").open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        await store.put("second", parts(b"2"))
    assert {path.name for path in folder.iterdir()} == {"alive", "young"}
    assert [stat.key for stat in await store.list()] == ["first", "second"]


async def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """/dev/full gives ENOSPC for every write; here it stands in for the file that is written."""

    class Full(LocalStore):
        def _begin(self) -> tuple[FileIO, Path]:
            file, path = super()._begin()
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, file.fileno())
            os.close(full)
            return file, path

    store = Full(LocalStore.Options(path=tmp_path))
    with pytest.raises(StoreError, match="No space left") as caught:
        await store.put("x", parts(b"1"))
    assert "full" in str(caught.value.hint)
    assert files(tmp_path) == []


async def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = LocalStore(LocalStore.Options(path=tmp_path / "file" / "below"))
    with pytest.raises(StoreError, match="cannot store x"):
        await store.put("x", parts(b"1"))


async def test_free_bytes_before_the_folder_exists(store: LocalStore) -> None:
    free = await store.free_bytes()
    assert free is not None
    assert free > 0


async def test_puts_and_deletes_beside_each_other(store: LocalStore) -> None:
    async def again(number: int) -> None:
        for _ in range(150):
            await store.put(f"same/folder/{number}", parts(b"1"))
            await store.delete(f"same/folder/{number}")

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(again(number))
    assert await store.list() == []
