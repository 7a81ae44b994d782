"""The stores that hold an environment's backups, and how long each keeps them."""

from __future__ import annotations

from collections.abc import Mapping

from actions._action import Job
from fleet.backups import Manifest, read_manifests
from fleet.errors import ActionError, StoreError
from fleet.policy import Retention
from fleet.stores import Store


def first_store(job: Job) -> tuple[str, Store]:
    """Where backups are taken. Raises ActionError where there is none."""
    if not job.stores:
        raise ActionError(f"{job.environment.name} has no store for backups", hint="add one under stores:")
    return next(iter(job.stores.items()))


def copies(job: Job, name: str | None = None) -> Mapping[str, Store]:
    """The stores of further copies by name, or the one that is called `name`. Raises ActionError."""
    known = {copy: job.stores[copy] for copy in job.environment.policy.backup.copies if copy in job.stores}
    return known if name is None else {name: _named(name, known)}


def all_stores(job: Job, name: str | None = None) -> Mapping[str, Store]:
    """The first store and the copies by name, or the one that is called `name`. Raises ActionError."""
    first, store = first_store(job)
    known = {first: store} | dict(copies(job))
    return known if name is None else {name: _named(name, known)}


def retention_of(job: Job, name: str) -> Retention:
    """What the store keeps."""
    return job.environment.policy.backup.retention_in(name)


async def readable(job: Job, stores: Mapping[str, Store]) -> tuple[dict[str, list[Manifest]], str]:
    """What is in each store that can be read, and a remark on those that cannot. Raises ActionError where none can."""
    found: dict[str, list[Manifest]] = {}
    failed: dict[str, StoreError] = {}
    for name, store in stores.items():
        try:
            found[name] = await read_manifests(store, job.environment.name)
        except StoreError as error:
            failed[name] = error
    if stores and not found:
        name, first = next(iter(failed.items()))
        raise ActionError(f"the store {name!r} cannot be read: {first.message}", hint=first.hint) from first
    return found, "".join(f"; the store {name!r} cannot be read and stays as it is" for name in failed)


def _named(name: str, known: Mapping[str, Store]) -> Store:
    if name not in known:
        raise ActionError(
            f"no store of such backups is called {name!r}", hint=f"known are: {', '.join(known) or 'none'}"
        )
    return known[name]
