"""What is known of one backup: written last, so that an object without a manifest is an unfinished backup."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Literal, TypeAlias
from urllib.parse import quote

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from fleet.errors import StoreError
from fleet.stores import Stat, Store

log = structlog.get_logger()

ROOT = "backups"
_MANIFEST = "manifest.json"


class _Fact(BaseModel):
    """Frozen, and tolerant of fields that a later version adds within the same format."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Table(_Fact):
    """A table of the dump that holds rows; `rows` is the planner's estimate, None if it was never analysed."""

    schema_name: str
    name: str
    rows: int | None


class DatabaseDump(_Fact):
    """One database of a backup.

    `size_bytes` and `sha256` (hex) are of the object as stored; `plain_bytes` is the archive before compression.
    `extensions` maps name to version; `revisions` are the current Alembic revisions, empty where there are none.
    """

    name: str
    key: str
    size_bytes: int
    plain_bytes: int
    sha256: str
    extensions: dict[str, str] = {}
    revisions: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()


class Manifest(_Fact):
    """One backup of one environment. Times are unix seconds; `error` is free of secrets.

    `verified_at` is when a restore of this backup was last proven, `verify_seconds` how long that took.
    """

    format: Literal[1] = 1
    id: str
    environment: str
    started_at: float
    finished_at: float
    succeeded: bool
    error: str | None = None
    engine: str = "pg_dump"
    server_version: str | None = None
    tool_version: str | None = None
    databases: tuple[DatabaseDump, ...] = ()
    verified_at: float | None = None
    verify_seconds: float | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes in the store, all databases together."""
        return sum(database.size_bytes for database in self.databases)

    @property
    def seconds(self) -> float:
        return self.finished_at - self.started_at


# what was read, by object as it was listed: its key, size and time of change; None is a broken one
KnownManifests: TypeAlias = dict[Stat, Manifest | None]


def backup_id(started_at: float, run_id: str) -> str:
    """Name a backup so that names sort by time: `20260729T081500Z-3f2a9c1b`."""
    return f"{datetime.fromtimestamp(started_at, UTC):%Y%m%dT%H%M%SZ}-{run_id[:8]}"


def backup_prefix(environment: str, id_: str) -> str:
    """What the keys of all objects of one backup start with."""
    return f"{ROOT}/{environment}/{id_}/"


def manifest_key(environment: str, id_: str) -> str:
    return backup_prefix(environment, id_) + _MANIFEST


def dump_key(environment: str, id_: str, database: str) -> str:
    """Key of a database's archive; the name is percent-encoded, for it may hold anything (`/`, a leading dot)."""
    return f"{backup_prefix(environment, id_)}{quote(database, safe='').replace('.', '%2E')}.dump.zst"


async def write_manifest(store: Store, manifest: Manifest) -> None:
    """Store a manifest in place of an earlier one of the same backup. Raises StoreError."""

    async def content() -> AsyncIterator[bytes]:
        yield manifest.model_dump_json(indent=1).encode()

    await store.put(manifest_key(manifest.environment, manifest.id), content())


async def read_manifest(store: Store, environment: str, id_: str) -> Manifest:
    """Read one manifest.

    Raises:
        StoreError: there is none, or the store cannot be read.
        ValueError: it is broken, or of a format that this version does not know.
    """
    return Manifest.model_validate_json(await _read(store, manifest_key(environment, id_)))


async def read_manifests(store: Store, environment: str, known: KnownManifests | None = None) -> list[Manifest]:
    """All finished backups of `environment`, succeeded or not, oldest first; a broken manifest is logged and left out.

    `known` is what earlier calls read of this environment in this store: only what is new or changed is read, and
    what is no longer listed is forgotten.

    Raises:
        StoreError: the store cannot be read: what is in it is unknown, which is not the same as nothing.
    """
    known = {} if known is None else known
    stats = [stat for stat in await store.list(f"{ROOT}/{environment}/") if stat.key.endswith(f"/{_MANIFEST}")]
    for gone in known.keys() - set(stats):
        del known[gone]
    for stat in stats:
        if stat in known:
            continue
        try:
            known[stat] = Manifest.model_validate_json(await _read(store, stat.key))
        except ValidationError as error:
            log.warning("manifest_unreadable", key=stat.key, problem=error.errors()[0]["msg"])
            known[stat] = None
        except StoreError:
            if await store.stat(stat.key) is not None:  # otherwise pruned since it was listed
                raise
    manifests = [manifest for manifest in known.values() if manifest is not None]
    return sorted(manifests, key=lambda manifest: (manifest.started_at, manifest.id))


async def _read(store: Store, key: str) -> bytes:
    return b"".join([part async for part in store.get(key)])
