"""What every store must do, whatever it is made of: each check takes an empty store."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from fleet.errors import StoreError
from fleet.stores import Store

MIB = 1 << 20
SIZES = (0, 1, MIB - 1, MIB, MIB + 1, 8 * MIB, 8 * MIB + 1, 17 * MIB)
KEYS = ("a", "b c/x+y&z=%20~.zst", "objects/qa/ab/" + "0" * 64, "backups/qa/1/manifest.json")
NO_KEYS = ("", "/etc/passwd", "../x", "a/../x", "a/./x", "a//x", "a/", "a\nb", "a\x00b", "è", ".unfinished/x", "a/.b")


async def parts(*content: bytes) -> AsyncIterator[bytes]:
    for part in content:
        yield part


async def read(store: Store, key: str) -> bytes:
    return b"".join([part async for part in store.get(key)])


async def keys(store: Store, prefix: str = "") -> list[str]:
    return [stat.key for stat in await store.list(prefix)]


async def check_contents_come_back(store: Store) -> None:
    for size in SIZES:
        content = os.urandom(size)
        # parts of a size that fits no boundary
        stat = await store.put(f"size/{size}", parts(*(content[at : at + 700_001] for at in range(0, size, 700_001))))
        assert (stat.key, stat.size_bytes) == (f"size/{size}", size)
        assert await store.stat(f"size/{size}") == stat
        assert await read(store, f"size/{size}") == content
    assert {stat.key: stat.size_bytes for stat in await store.list("size/")} == {f"size/{s}": s for s in SIZES}


async def check_new_objects_come_back(store: Store) -> None:
    for size in SIZES[:-1]:
        content = os.urandom(size)
        assert await store.put_new(f"objects/{size}", bytearray(content))
        assert await read(store, f"objects/{size}") == content
        assert not await store.put_new(f"objects/{size}", content)
        stat = await store.stat(f"objects/{size}")
        assert stat is not None
        assert stat.size_bytes == size


async def check_two_writers_of_a_new_object(store: Store) -> None:
    content = os.urandom(200_000)
    for number in range(2):
        key = f"objects/{number}"
        assert any(await asyncio.gather(*(store.put_new(key, content) for _ in range(4))))
        assert await read(store, key) == content
        assert not await store.put_new(key, content)


async def check_a_damaged_object_is_stored_anew(store: Store) -> None:
    for content in (b"whole", os.urandom(100_000)):
        await store.put("objects/x", parts(content[:-1]))
        assert await store.put_new("objects/x", content)
        assert await read(store, "objects/x") == content


async def check_puts_replace_and_deletes_repeat(store: Store) -> None:
    await store.put("a/x", parts(b"old"))
    await store.put("a/x", parts(b"new one"))
    assert await read(store, "a/x") == b"new one"
    for _ in range(2):
        await store.delete("a/x")
    assert await store.stat("a/x") is None
    assert await keys(store) == []
    with pytest.raises(StoreError, match="cannot read a/x"):
        await read(store, "a/x")


async def check_lists_take_a_prefix(store: Store) -> None:
    for key in ("b/qa/2/m", "b/qa/10/m", "b/qa2/1/m", "c"):
        await store.put(key, parts(b"1"))
    assert await keys(store, "b/qa/") == ["b/qa/10/m", "b/qa/2/m"]
    assert await keys(store, "b/qa") == ["b/qa/10/m", "b/qa/2/m", "b/qa2/1/m"]
    assert await keys(store) == ["b/qa/10/m", "b/qa/2/m", "b/qa2/1/m", "c"]
    assert await keys(store, "nothing/here") == []


async def check_keys(store: Store) -> None:
    for key in KEYS:
        await store.put(key, parts(key.encode()))
        assert await read(store, key) == key.encode()
    assert await keys(store) == sorted(KEYS)
    for key in NO_KEYS:
        with pytest.raises(StoreError, match="cannot be a key"):
            await store.put(key, parts(b"1"))
        with pytest.raises(StoreError, match="cannot be a key"):
            await store.put_new(key, b"1")
        with pytest.raises(StoreError, match="cannot be a key"):
            await store.stat(key)
        with pytest.raises(StoreError, match="cannot be a key"):
            await read(store, key)
    assert await keys(store) == sorted(KEYS)


async def check_failing_content_leaves_the_old_object(store: Store) -> None:
    await store.put("x", parts(b"old"))
    for before in (1, 18 * MIB):

        async def failing(size: int) -> AsyncIterator[bytes]:
            yield bytes(size)
            raise RuntimeError("the source died")

        with pytest.raises(RuntimeError, match="the source died"):
            await store.put("x", failing(before))
        assert await read(store, "x") == b"old"
    assert await keys(store) == ["x"]


async def check_a_cancelled_put_leaves_nothing(store: Store) -> None:
    flowing = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        for number in range(1000):
            yield bytes(MIB)
            if number == 20:
                flowing.set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(store.put("x", endless()))
        await flowing.wait()
        task.cancel()
    assert task.cancelled()
    assert await keys(store) == []


async def check_a_read_may_end_early(store: Store) -> None:
    content = os.urandom(5 * MIB)
    await store.put("x", parts(content))
    async for part in store.get("x"):
        assert content.startswith(part)
        break
    assert await read(store, "x") == content


async def check_what_is_readable_needs_no_thaw(store: Store) -> None:
    await store.put("objects/qa/ab/1", parts(b"1"))
    assert await store.thaw(["objects/qa/ab/1"]) == frozenset()
    assert await store.thaw([]) == frozenset()


CHECKS = {name.removeprefix("check_"): check for name, check in list(globals().items()) if name.startswith("check_")}
