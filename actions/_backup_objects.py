"""What the attempts of a backup run leave in a store, known by the run in their keys, and its removal.

Dumps are `backups/ENVIRONMENT/ID/RUN.ATTEMPT/DATABASE.dump.zst`. An attempt whose run was taken over may wake and go on
for a moment: it removes what is its own, or older, never what its successor stores.
"""

from __future__ import annotations

from collections.abc import Callable

from actions._action import Job
from fleet.backups import manifest_key, read_manifests
from fleet.backups.manifest import ROOT, inventory_key
from fleet.stores import Store


def attempt_of(job: Job) -> str:
    """The part of a dump's key that names run and attempt."""
    return f"{job.run_id}.{job.attempt}"


async def delete_attempt(store: Store, job: Job) -> None:
    """Remove the dumps of this attempt. Raises StoreError."""
    await _delete(store, job, lambda attempt: attempt == job.attempt)


async def sweep(store: Store, job: Job) -> None:
    """Remove the dumps of this attempt and those before it: the next thing is to dump anew. Raises StoreError."""
    await _delete(store, job, lambda attempt: attempt <= job.attempt)


async def delete_run(store: Store, job: Job) -> None:
    """Remove all that the run stored, its manifest first; one that says that it failed is kept. Raises StoreError."""
    data = job.data.get("manifest")
    kept = {one.id for one in await read_manifests(store, job.environment.name) if not one.succeeded}
    if data is not None and data["id"] not in kept:
        await store.delete(manifest_key(job.environment.name, data["id"]))
        await store.delete(inventory_key(job.environment.name, data["id"]))
    await _delete(store, job, lambda _attempt: True)


async def _delete(store: Store, job: Job, chosen: Callable[[int], bool]) -> None:
    for stat in await store.list(f"{ROOT}/{job.environment.name}/"):
        run_id, attempt = _place(stat.key)
        if run_id == job.run_id and chosen(attempt):
            await store.delete(stat.key)


def _place(key: str) -> tuple[str, int]:
    """Run and attempt of a dump; ("", 0) of anything else."""
    parts = key.split("/")
    run_id, _, attempt = parts[-2].rpartition(".")
    return (run_id, int(attempt)) if len(parts) == 5 and attempt.isdigit() else ("", 0)
