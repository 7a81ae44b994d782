"""What a scan found, kept in a backup store: one record a database, which the next scan of it replaces."""

from __future__ import annotations

from urllib.parse import quote

from pydantic import ValidationError

from fleet.backups.catalogue import put_bytes
from fleet.data.scan.findings import Finding
from fleet.errors import StoreError
from fleet.policy import Strict
from fleet.stores import Store


class ScanRecord(Strict):
    """`finished_at` is in unix seconds; `sampled` where only a part of the larger tables was looked at."""

    environment: str
    datname: str
    finished_at: float
    sampled: bool
    findings: tuple[Finding, ...] = ()


async def write_record(store: Store, record: ScanRecord) -> None:
    """Raises StoreError."""
    await put_bytes(store, _key(record.environment, record.datname), record.model_dump_json().encode())


async def read_record(store: Store, environment: str, datname: str) -> ScanRecord | None:
    """The last one of a database; None: it was never scanned. Raises StoreError, also where it cannot be understood."""
    key = _key(environment, datname)
    if await store.stat(key) is None:
        return None
    content = b"".join([part async for part in store.get(key)])
    try:
        return ScanRecord.model_validate_json(content)
    except ValidationError:
        raise StoreError(f"{key} is no record of a scan") from None


def _key(environment: str, datname: str) -> str:
    return f"scans/{environment}/{quote(datname, safe='').replace('.', '%2E')}.json"
