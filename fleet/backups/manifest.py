"""What is known of one backup: written last, so that objects without a manifest are an unfinished backup."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict

ROOT = "backups"
POOL = "objects"  # contents; a store may keep these in a slower class
INDEXES = "indexes"
MANIFEST = "manifest.json"
PIN = "pin.json"
PROOF = "proof.json"

Engine = Literal["snapshot", "custom", "plain"]


class Fact(BaseModel):
    """Frozen, and tolerant of fields that a later version adds within the same format."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Blob(Fact):
    """One object: `key` (of the pool: it ends with the SHA-256 of the bytes), bytes as stored, bytes decompressed."""

    key: str
    size_bytes: int
    plain_bytes: int


class Table(Fact):
    """A table that holds rows; `rows` is the planner's estimate, None if it was never analysed."""

    schema_name: str
    name: str
    rows: int | None


class TableCopy(Fact):
    """A table whose rows are chunks of its own: `chunks` is its index (see `fleet.backups.index`).

    `rows` is exact; `plain_bytes` of all chunks as COPY gives them, `stored_bytes` as they are stored.
    """

    schema_name: str
    name: str
    rows: int
    plain_bytes: int
    stored_bytes: int
    chunks: Blob


class DatabaseDump(Fact):
    """One database as a file of pg_dump (engines `custom` and `plain`).

    `size_bytes` and `sha256` (hex) are of the object as stored; `plain_bytes` is the dump before compression.
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


class DatabaseSnapshot(Fact):
    """One database as objects of the pool (engine `snapshot`), all read in one transaction snapshot.

    `pre_data`, `data` and `post_data` are SQL of pg_dump, each in a zstd frame: definitions, the rows of small tables,
    then keys, indexes, triggers. `copies` are the large tables; `tables` are all that hold rows. `roles` own or may use
    something in it. `fingerprint` is of the schema: equal texts of pre_data and post_data have equal ones.
    `identity` names the server's history; `xid` is the next transaction id then, counted without wrap-around.
    """

    name: str
    owner: str
    encoding: str
    collate: str
    ctype: str
    extensions: dict[str, str]
    revisions: tuple[str, ...]
    fingerprint: str
    roles: tuple[str, ...]
    identity: str
    xid: int
    pre_data: Blob
    data: Blob
    post_data: Blob
    tables: tuple[Table, ...]
    copies: tuple[TableCopy, ...]

    @property
    def size_bytes(self) -> int:
        """Stored bytes that a restore reads; objects shared with other backups are counted in each."""
        sql = (self.pre_data, self.data, self.post_data)
        return sum(blob.size_bytes for blob in sql) + sum(copy.stored_bytes for copy in self.copies)

    @property
    def plain_bytes(self) -> int:
        sql = (self.pre_data, self.data, self.post_data)
        return sum(blob.plain_bytes for blob in sql) + sum(copy.plain_bytes for copy in self.copies)


class Proof(Fact):
    """A restore of this backup that was proven, where, at what time (unix seconds) and how long it took.

    `seconds` is to the last index, `queryable_seconds` until keys and foreign keys stood.
    """

    at: float
    seconds: float
    queryable_seconds: float | None = None
    where: str = ""


class Pin(Fact):
    """Somebody wants it kept."""

    at: float
    by: str
    reason: str


class Manifest(Fact):
    """One backup of one environment. Times are unix seconds; `error` is free of secrets.

    `added_bytes` is what it stored that was not there before. `inventory` lists every object of the pool that it needs.
    `pin` and `proof` are no part of the stored manifest: they are objects beside it, so that it never changes.
    """

    format: Literal[1, 2] = 2
    id: str
    environment: str
    started_at: float
    finished_at: float
    succeeded: bool
    error: str | None = None
    engine: Engine = "snapshot"
    server_version: str | None = None
    tool_version: str | None = None
    databases: tuple[DatabaseDump, ...] = ()
    snapshots: tuple[DatabaseSnapshot, ...] = ()
    inventory: Blob | None = None
    added_bytes: int = 0
    parent: str | None = None
    pin: Pin | None = None
    proof: Proof | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes in the store, all databases together."""
        return sum(one.size_bytes for one in self.contents)

    @property
    def plain_bytes(self) -> int:
        return sum(one.plain_bytes for one in self.contents)

    @property
    def seconds(self) -> float:
        return self.finished_at - self.started_at

    @property
    def contents(self) -> tuple[DatabaseDump | DatabaseSnapshot, ...]:
        """What there is of each database."""
        return (*self.databases, *self.snapshots)

    @property
    def names(self) -> tuple[str, ...]:
        """The databases in it."""
        return tuple(one.name for one in self.contents)

    def snapshot(self, database: str) -> DatabaseSnapshot | None:
        return next((one for one in self.snapshots if one.name == database), None)


def backup_id(started_at: float, run_id: str) -> str:
    """Name a backup so that names sort by time: `20260729T081500Z-3f2a9c1b`."""
    return f"{datetime.fromtimestamp(started_at, UTC):%Y%m%dT%H%M%SZ}-{run_id[:8]}"


def backup_prefix(environment: str, id_: str) -> str:
    """What the keys of all objects of one backup start with."""
    return f"{ROOT}/{environment}/{id_}/"


def pool_prefixes(environment: str) -> tuple[str, ...]:
    """What the keys of all pool objects of an environment start with."""
    return f"{POOL}/{environment}/", f"{INDEXES}/{environment}/"


def object_key(environment: str, sha256: str, pool: str = POOL) -> str:
    """Key of a pool object by the SHA-256 (hex) of its bytes."""
    return f"{pool}/{environment}/{sha256[:2]}/{sha256}"


def inventory_key(environment: str, id_: str) -> str:
    return backup_prefix(environment, id_) + "inventory.json.zst"


def manifest_key(environment: str, id_: str) -> str:
    return backup_prefix(environment, id_) + MANIFEST


def dump_key(environment: str, id_: str, database: str, suffix: str = "dump.zst") -> str:
    """Key of a database's dump; the name is percent-encoded, for it may hold anything (`/`, a leading dot)."""
    return f"{backup_prefix(environment, id_)}{quote(database, safe='').replace('.', '%2E')}.{suffix}"
