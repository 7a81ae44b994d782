"""Encryption at rest: a store whose objects are sealed before they reach the store below it."""

from __future__ import annotations

import asyncio
import binascii
import re
from base64 import b64decode
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from fleet.errors import SecretError, StoreError
from fleet.secrets import Secrets, SecretText
from fleet.stores._seal import HEADER_BYTES, SEALED_BYTES, SEGMENT_BYTES, Opener, Sealer, plain_size, seal
from fleet.stores._store import Stat, Store

KEY_BYTES = 32
_HINT = "make one: openssl rand -base64 32; and keep a copy elsewhere, for without it no backup can be read"


class Sealed(Store):
    """Everything above sees plain bytes and plain sizes; names are not hidden.

    An object of the wrong key, of another name, cut short, reordered or changed is a StoreError when it is read. What
    was stored before encryption was turned on is one too: whoever may write to the store could replace an object by
    one that is not sealed.
    """

    name = "sealed"
    summary = "a store whose objects are encrypted"

    def __init__(self, store: Store, key: SecretText, secrets: Secrets) -> None:
        self._store, self._text, self._secrets = store, key, secrets

    async def put(self, key: str, content: AsyncIterator[bytes]) -> Stat:
        async with aclosing(_sealing(Sealer(await self._key(), key), content)) as parts:
            return _plain(await self._store.put(key, parts))

    async def put_new(self, key: str, content: bytes | bytearray) -> bool:
        sealed = await asyncio.to_thread(partial(seal, await self._key(), key, content))
        return await self._store.put_new(key, sealed)

    async def get(self, key: str) -> AsyncIterator[bytes]:
        secret = await self._key()
        waiting = bytearray()
        opener: Opener | None = None
        async for part in self._store.get(key):
            waiting += part
            if opener is None:
                if len(waiting) < HEADER_BYTES:
                    continue
                opener = Opener(secret, key, bytes(waiting[:HEADER_BYTES]))
                del waiting[:HEADER_BYTES]
            while len(waiting) > SEALED_BYTES:  # the last one is known by the end of the object
                segment = bytes(waiting[:SEALED_BYTES])
                del waiting[:SEALED_BYTES]
                yield opener.open(segment, last=False)
        if opener is None:
            opener = Opener(secret, key, bytes(waiting))  # too short to be one: says so
        if plain := opener.open(bytes(waiting), last=True):
            yield plain

    async def list(self, prefix: str = "") -> list[Stat]:
        return [_plain(stat) for stat in await self._store.list(prefix)]

    async def delete(self, key: str) -> None:
        await self._store.delete(key)

    async def stat(self, key: str) -> Stat | None:
        stat = await self._store.stat(key)
        return None if stat is None else _plain(stat)

    async def thaw(self, keys: Iterable[str]) -> frozenset[str]:
        return await self._store.thaw(keys)

    async def free_bytes(self) -> int | None:
        return await self._store.free_bytes()

    async def _key(self) -> bytes:
        try:
            return read_key(await self._secrets.fill(self._text))
        except SecretError as error:
            raise StoreError(f"the encryption key cannot be had: {error.message}", hint=error.hint) from error


def read_key(text: str) -> bytes:
    """The key that `text` writes in base64 or hex.

    Raises:
        StoreError: it is none of 32 bytes; the text is not quoted.
    """
    text = text.strip()
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        return bytes.fromhex(text)
    try:
        key = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise StoreError("encryption_key is no key of 32 bytes in base64 or hex", hint=_HINT)
    return key


async def _sealing(sealer: Sealer, content: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    yield sealer.header
    waiting = bytearray()
    async for part in content:
        waiting += part
        while len(waiting) > SEGMENT_BYTES:
            segment = bytes(waiting[:SEGMENT_BYTES])
            del waiting[:SEGMENT_BYTES]
            yield sealer.seal(segment, last=False)
    yield sealer.seal(bytes(waiting), last=True)


def _plain(stat: Stat) -> Stat:
    return replace(stat, size_bytes=plain_size(stat.size_bytes))
