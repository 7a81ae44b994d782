"""Backups as their manifests tell them, over real stores."""

import gzip
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from collectors.backups import BackupsCollector
from fleet.backups import (
    DatabaseDump,
    Manifest,
    Pin,
    Proof,
    read_manifests,
    write_manifest,
    write_pin,
    write_proof,
)
from fleet.backups.catalogue import put_bytes
from fleet.backups.manifest import object_key
from fleet.errors import StoreError
from fleet.stores import Stat, Store
from fleet.stores.local import LocalStore
from tests.integration.sites import Samples, Site, samples


def make_store(path: Path) -> LocalStore:
    path.mkdir(exist_ok=True)
    return LocalStore(LocalStore.Options(path=path))


@pytest.fixture
def local(tmp_path: Path) -> LocalStore:
    return make_store(tmp_path / "local")


async def add(
    store: Store,
    id_: str,
    finished_at: float,
    size: int = 1000,
    *,
    proof: Proof | None = None,
    pin: Pin | None = None,
    **fields: object,
) -> None:
    dump = DatabaseDump(name="d", key="k", size_bytes=size, plain_bytes=size, sha256="00")
    values: dict[str, object] = {
        "id": id_,
        "environment": "qa",
        "started_at": finished_at - 60,
        "finished_at": finished_at,
        "succeeded": True,
        "databases": (dump,),
    }
    manifest = Manifest.model_validate(values | fields)
    await write_manifest(store, manifest)
    if proof is not None:
        await write_proof(store, manifest, proof)
    if pin is not None:
        await write_pin(store, manifest, pin)


async def stored_bytes(store: Store, environment: str = "qa") -> int:
    """What is stored of the environment, all in all."""
    stats = [stat for root in ("backups", "objects", "indexes") for stat in await store.list(f"{root}/{environment}/")]
    return sum(stat.size_bytes for stat in stats)


async def collect(
    site: Site, backup: dict[str, object] | None = None, now: float = 10_000.0, **stores: Store
) -> tuple[Samples, dict[str, Exception]]:
    """As of an environment whose policy for backups is `backup`; by default all stores are copies."""
    policy = {"backup": {"copies": {"offsite": {}, "local": {}}} if backup is None else backup}
    target = site.target(policy=policy)
    target.stores, target.now = stores, now
    found = samples(await BackupsCollector(BackupsCollector.Options()).collect(target))
    return found, target.failures


async def test_nothing_stored_has_no_series(site: Site, local: LocalStore) -> None:
    found, failures = await collect(site, local=local)
    assert not any(found.values())
    assert failures == {}


async def test_each_copy_tells_its_own(site: Site, local: LocalStore, tmp_path: Path) -> None:
    offsite = make_store(tmp_path / "offsite")
    await add(local, "a", finished_at=1000, size=10)
    await add(local, "b", finished_at=3000, size=30, started_at=2900)
    await add(local, "c", finished_at=4000, succeeded=False, databases=(), error="disk full")
    await add(local, "d", finished_at=9000, environment="production")
    await add(offsite, "a", finished_at=1000, size=10)
    found, failures = await collect(site, local=local, offsite=offsite)
    assert failures == {}
    assert {name: series for name, series in found.items() if series} == {
        "custode_backup_last_success_timestamp_seconds": {("local",): 3000, ("offsite",): 1000},
        "custode_backup_recovery_point_timestamp_seconds": {("local",): 2900, ("offsite",): 940},
        "custode_backup_last_size_bytes": {("local",): 30, ("offsite",): 10},
        "custode_backup_last_added_bytes": {("local",): 30, ("offsite",): 10},
        "custode_backup_last_duration_seconds": {("local",): 100, ("offsite",): 60},
        "custode_backup_stored": {("local",): 2, ("offsite",): 1},
        "custode_backup_stored_size_bytes": {
            ("local",): await stored_bytes(local),
            ("offsite",): await stored_bytes(offsite),
        },
        "custode_backup_pinned": {("local",): 0, ("offsite",): 0},
        "custode_backup_prunable": {("local",): 0, ("offsite",): 0},
        "custode_backup_last_failure_timestamp_seconds": {(): 4000},
    }


async def test_the_database_that_is_worst_off_counts_of_those_that_are_there(site: Site, local: LocalStore) -> None:
    def dumps(*names: str) -> tuple[DatabaseDump, ...]:
        return tuple(DatabaseDump(name=name, key="k", size_bytes=9, plain_bytes=9, sha256="00") for name in names)

    await add(local, "a", finished_at=1000, databases=dumps(site.database, "gone"))
    await add(local, "b", finished_at=2000, databases=dumps(site.database))
    found, _ = await collect(site, local=local)
    assert found["custode_backup_recovery_point_timestamp_seconds"] == {("local",): 1940}
    await add(local, "c", finished_at=3000, databases=dumps("gone"))
    found, _ = await collect(site, local=local)
    assert found["custode_backup_recovery_point_timestamp_seconds"] == {("local",): 1940}


async def test_a_store_that_is_no_copy_does_not_count(site: Site, local: LocalStore, tmp_path: Path) -> None:
    other, archive = make_store(tmp_path / "other"), make_store(tmp_path / "archive")
    for store in (local, other, archive):
        await add(store, "a", finished_at=1000)
    found, failures = await collect(
        site, {"copies": {"archive": {}, "gone": {}}}, local=local, other=other, archive=archive
    )
    assert failures == {}
    assert found["custode_backup_stored"] == {("local",): 1, ("archive",): 1}


async def test_retention_of_each_copy(site: Site, local: LocalStore, tmp_path: Path) -> None:
    offsite = make_store(tmp_path / "offsite")
    for store in (local, offsite):
        for day, size in enumerate((10, 20, 30, 40, 1000)):
            pin = Pin(at=1.0, by="me", reason="mine") if day == 1 else None
            await add(store, f"{day}", finished_at=100_000 + day * 86_400, size=size, pin=pin)
    backup: dict[str, object] = {
        "retention": {"daily": "2d", "last": 1},
        "copies": {"offsite": {"retention": {"daily": "4d", "yearly": "1y"}}},
    }
    stores = {"local": local, "offsite": offsite}
    found, _ = await collect(site, backup, now=1e6, **stores)
    assert found["custode_backup_stored_by_retention"] == {
        ("local", "last"): 1,
        ("local", "daily"): 2,
        ("offsite", "daily"): 4,
        ("offsite", "yearly"): 2,
    }
    assert found["custode_backup_prunable"] == {("local",): 2, ("offsite",): 0}
    assert found["custode_backup_pinned"] == {("local",): 1, ("offsite",): 1}
    assert found["custode_backup_usual_size_bytes"] == {("local",): 25, ("offsite",): 25}
    await add(local, "failed", finished_at=999_000, succeeded=False, databases=())
    found, _ = await collect(site, backup, now=1e6, **stores)
    assert found["custode_backup_prunable"] == {("local",): 0, ("offsite",): 0}
    (tmp_path / "local" / "backups" / "qa" / "loop").symlink_to("loop")
    found, failures = await collect(site, backup, now=1e6, **stores)
    assert set(failures) == {"local"}
    assert found["custode_backup_stored"] == {("offsite",): 5}
    assert found["custode_backup_prunable"] == {}  # whether the newest run failed is unknown


async def test_what_is_stored_once_is_counted_once(site: Site, local: LocalStore) -> None:
    await add(local, "a", finished_at=1000)
    await put_bytes(local, object_key("qa", "ab" * 32), b"x" * 5000)
    await put_bytes(local, object_key("qa", "cd" * 32, "indexes"), b"x" * 700)
    await put_bytes(local, object_key("production", "ab" * 32), b"x" * 90_000)
    before = await stored_bytes(local)
    assert before > 5700
    target = site.target()
    target.stores = {"local": local}
    collector = BackupsCollector(BackupsCollector.Options())
    assert samples(await collector.collect(target))["custode_backup_stored_size_bytes"] == {("local",): before}
    await add(local, "b", finished_at=2000)
    after = await stored_bytes(local)
    assert after > before
    assert samples(await collector.collect(target))["custode_backup_stored_size_bytes"] == {("local",): after}


async def test_files_of_other_programs_are_a_copy(site: Site, local: LocalStore, tmp_path: Path) -> None:
    now, folder = 2_000_000.0, tmp_path / "dumps"
    folder.mkdir()
    for name, content, age in (
        ("1.sql.gz", b"one", 9000.0),
        ("2.sql.gz", b"two" * 99, 5000.0),
        ("3.sql.gz", b"", 900.0),
    ):
        (folder / name).write_bytes(gzip.compress(content) if content else b"")
        os.utime(folder / name, (now - age, now - age))
    newest = (folder / "2.sql.gz").stat().st_size
    patterns: dict[str, object] = {"files": (f"{folder}/*.sql.gz",)}
    found, failures = await collect(site, patterns, now=now, local=local)
    assert failures == {}
    assert {name: series for name, series in found.items() if series} == {
        "custode_backup_last_success_timestamp_seconds": {("files",): now - 5000},
        "custode_backup_recovery_point_timestamp_seconds": {("files",): now - 5000},
        "custode_backup_last_size_bytes": {("files",): newest},
        "custode_backup_last_added_bytes": {("files",): newest},
        "custode_backup_stored": {("files",): 2},
        "custode_backup_stored_size_bytes": {("files",): newest + (folder / "1.sql.gz").stat().st_size},
        "custode_backup_files_broken": {(): 1},
    }
    found, _ = await collect(site, {"files": (f"{folder}/*.dump",)}, now=now)
    assert {name: series for name, series in found.items() if series} == {"custode_backup_files_broken": {(): 0}}


async def test_only_failures_are_no_success(site: Site, local: LocalStore) -> None:
    await add(local, "a", finished_at=1000, succeeded=False, databases=())
    found, _ = await collect(site, local=local)
    assert {name for name, series in found.items() if series} == {"custode_backup_last_failure_timestamp_seconds"}


async def test_the_last_proof_of_any_copy_counts(site: Site, local: LocalStore, tmp_path: Path) -> None:
    offsite = make_store(tmp_path / "offsite")
    await add(local, "new", finished_at=2000)
    await add(local, "old", finished_at=1000, proof=Proof(at=5000.0, seconds=70.0))
    await add(offsite, "old", finished_at=1000, proof=Proof(at=6000.0, seconds=50.0, queryable_seconds=20.0))
    found, _ = await collect(site, local=local, offsite=offsite)
    assert found["custode_restore_test_last_success_timestamp_seconds"] == {(): 6000}
    assert found["custode_restore_test_last_duration_seconds"] == {(): 50}
    assert found["custode_restore_test_last_queryable_seconds"] == {(): 20}
    assert found["custode_restore_test_recovery_point_timestamp_seconds"] == {(): 940}


async def test_a_store_that_fails_loses_only_its_own_copy(site: Site, local: LocalStore, tmp_path: Path) -> None:
    await add(local, "a", finished_at=1000)
    broken = make_store(tmp_path / "broken")
    await add(broken, "a", finished_at=1000)
    loop = tmp_path / "broken" / "backups" / "qa" / "loop"
    loop.symlink_to(loop)
    found, failures = await collect(site, broken=broken, local=local)
    assert found["custode_backup_last_success_timestamp_seconds"] == {("local",): 1000}
    assert set(failures) == {"broken"}
    assert isinstance(failures["broken"], StoreError)


async def test_a_steady_store_is_listed_and_not_read(site: Site, tmp_path: Path) -> None:
    class Counting(LocalStore):
        reads = lists = 0

        def get(self, key: str) -> AsyncIterator[bytes]:
            self.reads += 1
            return super().get(key)

        async def list(self, prefix: str = "") -> list[Stat]:
            self.lists += 1
            return await super().list(prefix)

    stores = {name: Counting(LocalStore.Options(path=tmp_path / name)) for name in ("local", "offsite")}
    collector = BackupsCollector(BackupsCollector.Options())
    target = site.target(policy={"backup": {"copies": {"offsite": {}}}})
    target.stores = stores
    for store in stores.values():
        await add(store, "a", finished_at=1000)
    before = samples(await collector.collect(target))
    assert {name: store.lists for name, store in stores.items()} == {"local": 4, "offsite": 4}
    assert samples(await collector.collect(target)) == before
    assert {name: store.lists for name, store in stores.items()} == {"local": 5, "offsite": 5}
    (manifest,) = await read_manifests(stores["offsite"], "qa")
    await write_proof(stores["offsite"], manifest, Proof(at=5000.0, seconds=70.0))
    after = samples(await collector.collect(target))
    assert after["custode_restore_test_last_success_timestamp_seconds"] == {(): 5000}
    assert {name: store.reads for name, store in stores.items()} == {"local": 1, "offsite": 3}  # the test read it once
