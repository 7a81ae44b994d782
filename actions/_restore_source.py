"""Which snapshot is restored: the newest good one, one by its id, or the nearest one not later than a moment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import AwareDatetime, Field, model_validator

from actions._action import Job, Object, Target
from fleet.backups import DatabaseSnapshot, Manifest, read_manifest, read_manifests
from fleet.backups.manifest import pool_prefixes
from fleet.backups.pool import Pool, missing_objects, read_inventory
from fleet.errors import ActionError, StoreError
from fleet.policy import Strict
from fleet.stores import Store


class SourceParameters(Strict):
    database: str | None = Field(None, description="the database; null: the only one of the backup")
    backup: str | None = Field(None, description="id of the backup; null: the newest good one")
    at: AwareDatetime | None = Field(None, description="the state of this moment: the nearest backup not later")
    store: str | None = Field(None, description="name of the store to read; null: the first that has it whole")

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> SourceParameters:
        if self.backup is not None and self.at is not None:
            raise ValueError("say `backup` or `at`, not both")
        return self

    @property
    def target(self) -> Target:
        databases = None if self.database is None else frozenset({self.database})
        return Target(self.database or "", databases, self.store)


@dataclass(frozen=True, slots=True)
class Source:
    """A snapshot of one database in a store; `remark` is what people should know of the choice."""

    store_name: str
    store: Store
    manifest: Manifest
    snapshot: DatabaseSnapshot
    remark: str = ""

    @property
    def pool(self) -> Pool:
        return Pool(self.store, self.manifest.environment)

    @property
    def object(self) -> Object:
        return {"datname": self.snapshot.name, "backup": self.manifest.id, "store": self.store_name}

    @property
    def taken(self) -> str:
        """When, for people."""
        return f"{datetime.fromtimestamp(self.manifest.started_at, UTC):%Y-%m-%d %H:%M:%S} UTC"

    @property
    def stamp(self) -> str:
        """The same for the name of a database."""
        return f"{datetime.fromtimestamp(self.manifest.started_at, UTC):%Y%m%d_%H%M%S}"


async def choose(job: Job, parameters: SourceParameters) -> Source:
    """The best candidate whose objects are all there; another store, or an older backup, where the best one is broken.

    Raises:
        ActionError: there is none.
        StoreError: no store could be read.
    """
    passed_over: list[str] = []
    for name, manifest in await _candidates(job, parameters):
        store = job.stores[name]
        snapshot = _snapshot(manifest, parameters.database)
        missing = await _missing(store, manifest)
        if missing:
            passed_over.append(f"{manifest.id} in {name!r} is not whole: {missing}")
            continue
        remark = f"; {'; '.join(passed_over)}" if passed_over else ""
        return Source(name, store, manifest, snapshot, remark)
    raise ActionError(
        f"{job.environment.name} has no backup that can be restored"
        + (f": {'; '.join(passed_over)}" if passed_over else f" ({_wish(parameters)})"),
        hint="custode backups list tells what there is",
    )


async def reopen(job: Job, planned: Object) -> Source:
    """The snapshot that a plan has chosen. Raises ActionError, StoreError."""
    store = job.stores.get(planned["store"])
    if store is None:
        raise ActionError(f"the store {planned['store']!r} is not configured any more")
    try:
        manifest = await read_manifest(store, job.environment.name, planned["backup"])
    except ValueError as error:
        raise ActionError(f"the manifest of {planned['backup']} is broken") from error
    return Source(planned["store"], store, manifest, _snapshot(manifest, planned["datname"]))


async def _candidates(job: Job, parameters: SourceParameters) -> list[tuple[str, Manifest]]:
    """Good backups that fit, the newest first, of each the one in the first store first."""
    found: list[tuple[str, Manifest]] = []
    failures: list[StoreError] = []
    names = _stores(job, parameters)
    for name in names:
        try:
            found += [(name, m) for m in await read_manifests(job.stores[name], job.environment.name)]
        except StoreError as error:  # another copy may be readable
            failures.append(error)
    if len(failures) == len(names):
        raise failures[0]
    fitting = [(name, manifest) for name, manifest in found if manifest.succeeded and _fits(manifest, parameters)]
    if fitting and not any(manifest.snapshots for _, manifest in fitting):
        raise ActionError(
            f"{fitting[0][1].id} is a file of pg_dump, no snapshot", hint="restore it with pg_restore or psql"
        )
    whole = [one for one in fitting if _holds(one[1], parameters.database)]
    return sorted(whole, key=lambda one: -one[1].started_at)


def _stores(job: Job, parameters: SourceParameters) -> Sequence[str]:
    if not job.stores:
        raise ActionError(f"{job.environment.name} has no store for backups", hint="add one under stores:")
    if parameters.store is None:
        return list(job.stores)
    if parameters.store not in job.stores:
        raise ActionError(f"no store is called {parameters.store!r}", hint=f"known are: {', '.join(job.stores)}")
    return [parameters.store]


def _fits(manifest: Manifest, parameters: SourceParameters) -> bool:
    if parameters.backup is not None:
        return manifest.id == parameters.backup
    return parameters.at is None or manifest.started_at <= parameters.at.timestamp()


def _holds(manifest: Manifest, database: str | None) -> bool:
    return bool(manifest.snapshots) if database is None else manifest.snapshot(database) is not None


def _snapshot(manifest: Manifest, database: str | None) -> DatabaseSnapshot:
    names = [one.name for one in manifest.snapshots]
    if database is None and len(names) != 1:
        raise ActionError(f"{manifest.id} holds several databases: {', '.join(names)}", hint="say which: database")
    snapshot = manifest.snapshot(database or names[0])
    if snapshot is None:
        raise ActionError(f"{manifest.id} has no database {database!r}", hint=f"it has: {', '.join(names)}")
    return snapshot


async def _missing(store: Store, manifest: Manifest) -> str:
    """What is missing, in words; "" where nothing is."""
    if manifest.inventory is None:
        return ""
    try:
        objects = await read_inventory(store, manifest.inventory)
    except StoreError as error:
        return error.message
    missing = await missing_objects(store, pool_prefixes(manifest.environment), objects)
    return f"{_counted(missing)} missing, the first is {missing[0]}" if missing else ""


def _counted(missing: Iterable[str]) -> str:
    count = len(list(missing))
    return "an object is" if count == 1 else f"{count} objects are"


def _wish(parameters: SourceParameters) -> str:
    what = f"of {parameters.database!r}" if parameters.database is not None else "of any database"
    if parameters.backup is not None:
        return f"{what} called {parameters.backup}"
    return what if parameters.at is None else f"{what} not later than {parameters.at.isoformat()}"
