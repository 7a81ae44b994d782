"""Backups as their manifests tell them, over real stores."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from collectors.backups import BackupsCollector
from fleet.backups import DatabaseDump, Manifest, write_manifest
from fleet.errors import StoreError
from fleet.stores import Store
from fleet.stores.local import LocalStore
from tests.integration.sites import Samples, Site, samples


def make_store(path: Path) -> LocalStore:
    path.mkdir(exist_ok=True)
    return LocalStore(LocalStore.Options(path=path))


@pytest.fixture
def local(tmp_path: Path) -> LocalStore:
    return make_store(tmp_path / "local")


async def add(store: Store, id_: str, finished_at: float, size: int = 1000, **fields: object) -> None:
    dump = DatabaseDump(name="d", key="k", size_bytes=size, plain_bytes=size, sha256="00")
    values: dict[str, object] = {
        "id": id_,
        "environment": "qa",
        "started_at": finished_at - 60,
        "finished_at": finished_at,
        "succeeded": True,
        "databases": (dump,),
    }
    await write_manifest(store, Manifest.model_validate(values | fields))


async def collect(site: Site, **stores: Store) -> tuple[Samples, dict[str, Exception]]:
    target = site.target()
    target.stores = stores
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
    assert found == {
        "custode_backup_last_success_timestamp_seconds": {("local",): 3000, ("offsite",): 1000},
        "custode_backup_last_size_bytes": {("local",): 30, ("offsite",): 10},
        "custode_backup_last_duration_seconds": {("local",): 100, ("offsite",): 60},
        "custode_backup_stored": {("local",): 2, ("offsite",): 1},
        "custode_backup_stored_size_bytes": {("local",): 40, ("offsite",): 10},
        "custode_backup_last_failure_timestamp_seconds": {(): 4000},
    }


async def test_only_failures_are_no_success(site: Site, local: LocalStore) -> None:
    await add(local, "a", finished_at=1000, succeeded=False, databases=())
    found, _ = await collect(site, local=local)
    assert {name for name, series in found.items() if series} == {"custode_backup_last_failure_timestamp_seconds"}


async def test_the_last_proof_of_any_copy_counts(site: Site, local: LocalStore, tmp_path: Path) -> None:
    offsite = make_store(tmp_path / "offsite")
    await add(local, "new", finished_at=2000)
    await add(local, "old", finished_at=1000, verified_at=5000.0, verify_seconds=70.0)
    await add(offsite, "old", finished_at=1000, verified_at=6000.0, verify_seconds=None)
    found, _ = await collect(site, local=local, offsite=offsite)
    assert found["custode_restore_test_last_success_timestamp_seconds"] == {(): 6000}
    assert found["custode_restore_test_last_duration_seconds"] == {}


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
        reads = 0

        def get(self, key: str) -> AsyncIterator[bytes]:
            self.reads += 1
            return super().get(key)

    stores = {name: Counting(LocalStore.Options(path=tmp_path / name)) for name in ("local", "offsite")}
    collector = BackupsCollector(BackupsCollector.Options())
    target = site.target()
    target.stores = stores
    for store in stores.values():
        await add(store, "a", finished_at=1000)
    before = samples(await collector.collect(target))
    assert samples(await collector.collect(target)) == before
    await add(stores["offsite"], "a", finished_at=1000, verified_at=5000.0, verify_seconds=70.0)
    after = samples(await collector.collect(target))
    assert after["custode_restore_test_last_success_timestamp_seconds"] == {(): 5000}
    assert {name: store.reads for name, store in stores.items()} == {"local": 1, "offsite": 2}
