"""The pool of an environment in one store: objects that are named by their content, stored once, checked when read."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from pathlib import Path

import zstandard

from fleet.backups.catalogue import get_bytes, put_bytes
from fleet.backups.manifest import POOL, ROOT, Blob, inventory_key, object_key, pool_prefixes
from fleet.errors import StoreError
from fleet.stores import Store

_LEVEL = 3
_READ_BYTES = 1 << 20


class Pool:
    """Objects of at most some megabytes each, so they are held in memory whole, and not a moment longer.

    Objects in `condemned` are about to be removed: what has such a name is stored under another one. Those in `damaged`
    are overwritten.
    `added_bytes` counts what was stored by this one and was not there before; `used` is every object that was put
    (new or not), with its size.
    """

    def __init__(
        self,
        store: Store,
        environment: str,
        condemned: frozenset[str] = frozenset(),
        damaged: frozenset[str] = frozenset(),
    ) -> None:
        self.store = store
        self.environment = environment
        self.condemned = condemned
        self.damaged = damaged
        self.added_bytes = 0
        self.used: dict[str, int] = {}

    async def put(self, content: bytes | bytearray, plain_bytes: int, pool: str = POOL) -> Blob:
        """Store an object unless it is there already. Raises StoreError."""
        key, content = await asyncio.to_thread(self._name, content, pool)
        if key in self.damaged:
            await put_bytes(self.store, key, bytes(content))
            self.added_bytes += len(content)
        elif await self.store.put_new(key, content):
            self.added_bytes += len(content)
        self.used[key] = len(content)
        return Blob(key=key, size_bytes=len(content), plain_bytes=plain_bytes)

    async def put_file(self, path: Path, plain_bytes: int) -> Blob:
        """Store a file of any size unless it is there already. Raises StoreError."""
        key, size = await asyncio.to_thread(self._name_file, path)
        found = await self.store.stat(key)
        if found is None or found.size_bytes != size or key in self.damaged:
            async with aclosing(_parts(path)) as parts:
                await self.store.put(key, parts)
            self.added_bytes += size
        self.used[key] = size
        return Blob(key=key, size_bytes=size, plain_bytes=plain_bytes)

    async def get(self, key: str) -> bytes:
        """Read an object whose content is what its name says.

        Raises:
            StoreError: it is missing or cannot be read; or it is damaged.
        """
        content = await get_bytes(self.store, key)
        if await asyncio.to_thread(_sha256, content) != key.rpartition("/")[2]:
            raise StoreError(f"{key} is damaged: its {len(content)} bytes have another checksum", hint=_DAMAGED)
        return content

    def _name(self, content: bytes | bytearray, pool: str) -> tuple[str, bytes | bytearray]:
        key = object_key(self.environment, _sha256(content), pool)
        while key in self.condemned:
            content = bytes(content) + _SKIPPED
            key = object_key(self.environment, _sha256(content), pool)
        return key, content

    def _name_file(self, path: Path) -> tuple[str, int]:
        while True:
            with path.open("rb") as file:
                key = object_key(self.environment, hashlib.file_digest(file, "sha256").hexdigest())
            if key not in self.condemned:
                return key, path.stat().st_size
            with path.open("ab") as file:
                file.write(_SKIPPED)


# a frame that is skipped (RFC 8878, 3.1.2): behind others it changes nothing but the name of the whole
_SKIPPED = b"\x50\x2a\x4d\x18" + bytes(4)
_DAMAGED = "another copy may have it whole: custode backups verify tells; the next backup stores it anew"


async def write_inventory(store: Store, environment: str, id_: str, objects: Mapping[str, int]) -> Blob:
    """Note every object that a backup needs, with its size in bytes. Raises StoreError."""
    plain = json.dumps({"objects": dict(sorted(objects.items()))}).encode()
    frame = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(plain)
    key = inventory_key(environment, id_)
    await put_bytes(store, key, frame)
    return Blob(key=key, size_bytes=len(frame), plain_bytes=len(plain))


async def read_inventory(store: Store, blob: Blob) -> dict[str, int]:
    """Every object that a backup needs, with its size in bytes.

    Raises:
        StoreError: it is missing, damaged, or cannot be read.
    """
    stored = await get_bytes(store, blob.key)
    try:
        plain = zstandard.ZstdDecompressor().decompressobj().decompress(stored)
        objects = json.loads(plain)["objects"]
        return {str(key): int(size) for key, size in objects.items()}
    except (zstandard.ZstdError, ValueError, KeyError, AttributeError) as error:
        raise StoreError(f"{blob.key} is damaged: {error}") from error


async def list_pool(store: Store, environment: str) -> dict[str, int]:
    """The objects that are there, with their sizes in bytes. Raises StoreError."""
    return {stat.key: stat.size_bytes for prefix in pool_prefixes(environment) for stat in await store.list(prefix)}


async def missing_objects(store: Store, prefixes: Iterable[str], objects: Mapping[str, int]) -> list[str]:
    """Those of `objects` that are not in the store with their size. Raises StoreError."""
    there = {stat.key: stat.size_bytes for prefix in prefixes for stat in await store.list(prefix)}
    return sorted(key for key, size in objects.items() if there.get(key) != size)


async def read_damaged(store: Store, environment: str) -> frozenset[str]:
    """The objects that somebody read and found damaged: the next backup stores them anew. Raises StoreError."""
    key = _damaged_key(environment)
    if await store.stat(key) is None:
        return frozenset()
    try:
        return frozenset(map(str, json.loads(await get_bytes(store, key))))
    except (ValueError, TypeError):
        return frozenset()  # whoever verifies next finds them again


async def write_damaged(store: Store, environment: str, keys: Iterable[str]) -> None:
    """Note objects that are damaged, in place of those noted before. Raises StoreError."""
    listed = sorted(keys)
    if listed:
        await put_bytes(store, _damaged_key(environment), json.dumps(listed).encode())
    else:
        await store.delete(_damaged_key(environment))


def _damaged_key(environment: str) -> str:
    return f"{ROOT}/{environment}/damaged.json"


async def _parts(path: Path) -> AsyncGenerator[bytes, None]:
    with path.open("rb") as file:
        while part := await asyncio.to_thread(file.read, _READ_BYTES):
            yield part


def _sha256(content: bytes | bytearray) -> str:
    return hashlib.sha256(content).hexdigest()
