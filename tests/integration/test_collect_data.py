"""What the last scan found, out of its record in the stores."""

from collections.abc import Callable
from pathlib import Path

from collectors import Target
from collectors.data import DataCollector
from fleet.data.kinds import Kind
from fleet.data.scan import Finding
from fleet.data.scan.records import ScanRecord, read_record, write_record
from fleet.environment import Environment
from fleet.stores.local import LocalStore
from tests.integration.sites import samples


async def test_places_are_summed_and_what_was_never_scanned_has_no_series(
    database: str, make_environment: Callable[..., Environment], make_target: Callable[..., Target], tmp_path: Path
) -> None:
    store = LocalStore(LocalStore.Options(path=tmp_path))
    target = make_target(make_environment(), stores={"local": store})
    collector = DataCollector(DataCollector.Options())
    assert samples(await collector.collect(target)) == {}
    findings = (
        Finding("public", "users", "email", Kind.EMAIL, 3),
        Finding("public", "users", "email", Kind.EMAIL, 2, "statistics"),
        Finding("public", "notes", "", Kind.UNREAD, 1, reason="closed"),
    )
    record = ScanRecord(environment="qa", datname=database, finished_at=7.0, sampled=True, findings=findings)
    await write_record(store, record)
    await write_record(store, record.model_copy(update={"datname": "dropped"}))
    series = samples(await collector.collect(target))
    assert series["custode_data_findings"] == {
        (database, "public", "users", "email", "email"): 5,
        (database, "public", "notes", "", "unread"): 1,
    }
    assert series["custode_data_scan_timestamp_seconds"] == {(database,): 7.0}
    assert series["custode_data_scan_sampled"] == {(database,): 1}


async def test_the_newest_record_counts_and_a_broken_one_is_told(
    database: str, make_environment: Callable[..., Environment], make_target: Callable[..., Target], tmp_path: Path
) -> None:
    stores = {name: LocalStore(LocalStore.Options(path=tmp_path / name)) for name in ("a", "b", "c")}
    for store, at in zip(stores.values(), (1.0, 3.0, 2.0), strict=True):
        record = ScanRecord(environment="qa", datname=database, finished_at=at, sampled=False, findings=())
        await write_record(store, record)
    assert (await read_record(stores["a"], "qa", database)) is not None
    assert await read_record(stores["a"], "qa", "o.th/er") is None
    (path,) = (tmp_path / "c").glob("scans/qa/*.json")
    path.write_text("{}")
    target = make_target(make_environment(), stores=stores)
    series = samples(await DataCollector(DataCollector.Options()).collect(target))
    assert series["custode_data_scan_timestamp_seconds"] == {(database,): 3.0}
    assert target.failures.keys() == {"c"}
