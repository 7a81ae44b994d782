"""What is stored of an environment, as its stores tell it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from fleet.backups import KnownManifests, Manifest, read_manifests
from fleet.backups.guide_files import GuideFile, find_files
from fleet.backups.retention import Decision, decide
from fleet.environment import Environment
from fleet.errors import StoreError
from fleet.policy import Retention
from fleet.stores import Store

FRESH_SECONDS = 15.0  # for so long what was read is told again
STORE_SECONDS = 20.0  # a store that has not answered by then is told as one that cannot be read
_REMEMBERED = 32  # environments


@dataclass(frozen=True, slots=True)
class Copy:
    """The backups of one store, oldest first, and what the policy says of each; `problem` where it cannot be read."""

    name: str
    store: Store
    retention: Retention
    manifests: tuple[Manifest, ...] = ()
    decisions: tuple[Decision, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """The copies of an environment, that where backups are taken first, and the files that other programs left."""

    environment: Environment
    copies: tuple[Copy, ...]
    files: tuple[GuideFile, ...]


async def read_copies(
    environment: Environment,
    stores: Mapping[str, Store],
    now: float,
    known: Mapping[str, KnownManifests] | None = None,
    patience: float | None = None,
) -> Stored:
    """Read all stores at once; `now` in unix seconds, `known` what was read before, by store (see `read_manifests`).

    A store that has not answered after `patience` seconds has a problem, as one that fails.
    """
    backup = environment.policy.backup
    wanted = {name: stores[name] for name in dict.fromkeys((*list(stores)[:1], *backup.copies)) if name in stores}
    async with asyncio.TaskGroup() as group:
        reading = [
            group.create_task(_read(store, environment.name, (known or {}).get(name), patience))
            for name, store in wanted.items()
        ]
        looking = group.create_task(asyncio.to_thread(find_files, backup.files, now))
    copies = []
    for (name, store), task in zip(wanted.items(), reading, strict=True):
        retention, read = backup.retention_in(name), task.result()
        if isinstance(read, str):
            copies.append(Copy(name, store, retention, problem=read))
        else:
            copies.append(Copy(name, store, retention, tuple(read), tuple(decide(read, retention, now))))
    return Stored(environment, tuple(copies), tuple(looking.result()))


async def _read(
    store: Store, environment: str, known: KnownManifests | None, patience: float | None
) -> Sequence[Manifest] | str:
    """The manifests; or why they cannot be read."""
    try:
        async with asyncio.timeout(patience):
            return await read_manifests(store, environment, known)
    except StoreError as error:
        return error.message
    except TimeoutError:
        return f"it did not answer within {patience:.0f} seconds"


def tiers_of(copy: Copy) -> Mapping[str, Decision]:
    """What the policy says of each backup, by its id."""
    return {decision.id: decision for decision in copy.decisions}


@dataclass(slots=True)
class _Shelf:
    """What is remembered of one environment."""

    known: WeakKeyDictionary[Store, KnownManifests] = field(default_factory=WeakKeyDictionary)
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    read_at: float = float("-inf")
    stored: Stored | None = None


class StoredBackups:
    """Tells the same for FRESH_SECONDS; whoever asks while stores are read waits for that. `now` is unix seconds."""

    def __init__(self, stores: Callable[[], Mapping[str, Store]], now: Callable[[], float]) -> None:
        self._stores = stores
        self._now = now
        self._shelves: OrderedDict[str, _Shelf] = OrderedDict()

    async def of(self, environment: Environment) -> Stored:
        shelf = self._shelves.setdefault(environment.name, _Shelf())
        self._shelves.move_to_end(environment.name)
        while len(self._shelves) > _REMEMBERED:
            self._shelves.popitem(last=False)
        async with shelf.reading:
            stores, now = self._stores(), self._now()
            fresh = 0 <= now - shelf.read_at < FRESH_SECONDS
            if shelf.stored is None or not fresh or shelf.stored.environment != environment:
                known = {name: shelf.known.setdefault(store, {}) for name, store in stores.items()}
                shelf.stored = await read_copies(environment, stores, now, known, STORE_SECONDS)
                shelf.read_at = now
            return shelf.stored
