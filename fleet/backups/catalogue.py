"""The backups of an environment in one store: their manifests, and what is said of them in objects beside these."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from io import BytesIO
from typing import TypeAlias

import structlog
from pydantic import ValidationError

from fleet.backups.manifest import MANIFEST, PIN, PROOF, ROOT, Fact, Manifest, Pin, Proof, backup_prefix, manifest_key
from fleet.errors import StoreError
from fleet.stores import Stat, Store

log = structlog.get_logger()

_AT_ONCE = 16
_KINDS: dict[str, type[Manifest | Pin | Proof]] = {MANIFEST: Manifest, PIN: Pin, PROOF: Proof}

# what was read, by object as it was listed: its key, size and time of change; None is a broken one
KnownManifests: TypeAlias = dict[Stat, Fact | None]


async def put_bytes(store: Store, key: str, content: bytes) -> Stat:
    """Store a small object whole. Raises StoreError."""

    async def parts() -> AsyncIterator[bytes]:
        yield content

    return await store.put(key, parts())


async def get_bytes(store: Store, key: str) -> bytes:
    """Read a whole object. Raises StoreError."""
    content = BytesIO()  # whose bytes are not copied to be given
    async for part in store.get(key):
        content.write(part)
    return content.getvalue()


async def write_manifest(store: Store, manifest: Manifest) -> None:
    """Store a manifest in place of an earlier one of the same backup. Raises StoreError."""
    content = manifest.model_dump_json(indent=1, exclude={"pin", "proof"}).encode()
    await put_bytes(store, manifest_key(manifest.environment, manifest.id), content)


async def write_proof(store: Store, manifest: Manifest, proof: Proof) -> None:
    """Note that a restore of this backup was proven. Raises StoreError."""
    await put_bytes(store, backup_prefix(manifest.environment, manifest.id) + PROOF, _json(proof))


async def write_pin(store: Store, manifest: Manifest, pin: Pin | None) -> None:
    """Pin a backup, so that no policy removes it; None takes the pin away. Raises StoreError."""
    key = backup_prefix(manifest.environment, manifest.id) + PIN
    if pin is None:
        await store.delete(key)
    else:
        await put_bytes(store, key, _json(pin))


async def read_manifest(store: Store, environment: str, id_: str) -> Manifest:
    """Read one manifest, with its pin and proof.

    Raises:
        StoreError: there is none, or the store cannot be read.
        ValueError: it is broken, or of a format that this version does not know. A pin that is so is a pin.
    """
    manifest = Manifest.model_validate_json(await get_bytes(store, manifest_key(environment, id_)))
    found: dict[str, Fact] = {}
    for name in (PIN, PROOF):
        stat = await store.stat(backup_prefix(environment, id_) + name)
        if stat is not None:
            found[name.removesuffix(".json")] = _understand(stat, await get_bytes(store, stat.key))
    return manifest.model_copy(update=found)


async def read_manifests(store: Store, environment: str, known: KnownManifests | None = None) -> list[Manifest]:
    """All finished backups of `environment`, succeeded or not, oldest first; a broken manifest is logged and left out.
    A broken pin is logged and is a pin.

    `known` is what earlier calls read of this environment in this store: only what is new or changed is read, and
    what is no longer listed is forgotten.

    Raises:
        StoreError: the store cannot be read: what is in it is unknown, which is not the same as nothing.
    """
    known = {} if known is None else known
    stats = [stat for stat in await store.list(f"{ROOT}/{environment}/") if _name(stat.key) in _KINDS]
    for gone in known.keys() - set(stats):
        del known[gone]
    await _read_all(store, [stat for stat in stats if stat not in known], known)
    return _assemble(known)


async def _read_all(store: Store, stats: Iterable[Stat], known: KnownManifests) -> None:
    places = asyncio.Semaphore(_AT_ONCE)

    async def read(stat: Stat) -> None:
        async with places:
            try:
                known[stat] = _understand(stat, await get_bytes(store, stat.key))
            except ValidationError:
                known[stat] = None
            except StoreError:
                if await store.stat(stat.key) is not None:  # otherwise pruned since it was listed
                    raise

    results = await asyncio.gather(*(read(stat) for stat in stats), return_exceptions=True)
    for result in results:  # all have ended, so that what could be read is known the next time
        if isinstance(result, BaseException):
            raise result


def _understand(stat: Stat, content: bytes) -> Fact:
    kind = _KINDS[_name(stat.key)]
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        log.warning("manifest_unreadable", key=stat.key, problem=error.errors()[0]["msg"])
        if kind is not Pin:
            raise
        return Pin(at=stat.modified, by="unknown", reason="its pin cannot be understood")


def _assemble(known: KnownManifests) -> list[Manifest]:
    beside: dict[str, dict[str, Fact]] = defaultdict(dict)
    for stat, fact in known.items():
        folder, _, name = stat.key.rpartition("/")
        if fact is not None:
            beside[folder][name.removesuffix(".json")] = fact
    manifests = []
    for facts in beside.values():
        manifest = facts.pop("manifest", None)
        if isinstance(manifest, Manifest):
            manifests.append(manifest.model_copy(update=facts) if facts else manifest)
    return sorted(manifests, key=lambda manifest: (manifest.started_at, manifest.id))


def _name(key: str) -> str:
    return key.rpartition("/")[2]


def _json(fact: Fact) -> bytes:
    return fact.model_dump_json(indent=1).encode()
