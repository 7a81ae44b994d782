"""A database without personal data, for the case of `scan_data`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fleet.data.scan.records import read_record
from fleet.stores.local import LocalStore

if TYPE_CHECKING:
    from tests.integration.actions_kit import Ground


async def plant_clean(ground: Ground) -> Mapping[str, Any]:
    await ground.sql.execute("create table notes as select i as id, md5(i::text) as t from generate_series(1, 2000) i")
    return {"datname": ground.database}


async def count_scans(ground: Ground) -> int:
    """Scans on record of which nothing was found."""
    store = LocalStore(LocalStore.Options(path=ground.store))
    record = await read_record(store, "qa", ground.database)
    return int(record is not None and not record.findings)
