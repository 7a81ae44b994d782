"""Copies of production that were not used, for a scan found personal data in them: one record a database."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from pydantic import ValidationError

from fleet.backups.catalogue import get_bytes, put_bytes
from fleet.data.scan.records import ScanRecord
from fleet.errors import StoreError
from fleet.stores import Store


async def write_refused(store: Store, record: ScanRecord) -> None:
    """`record` says what was found, and in whose place the copy was to come. Raises StoreError."""
    await put_bytes(store, _key(record.environment, record.datname), record.model_dump_json().encode())


async def forget_refused(store: Store, environment: str, datname: str) -> None:
    """A later copy was good. Raises StoreError."""
    await store.delete(_key(environment, datname))


async def read_refused(store: Store, environment: str) -> Sequence[ScanRecord]:
    """The last ones of an environment, unless a good one came after. Raises StoreError."""
    return [await _read(store, stat.key) for stat in await store.list(_prefix(environment))]


async def _read(store: Store, key: str) -> ScanRecord:
    try:
        return ScanRecord.model_validate_json(await get_bytes(store, key))
    except ValidationError:
        raise StoreError(f"{key} is no record of a refused refresh") from None


def _prefix(environment: str) -> str:
    return f"refused/{environment}/"


def _key(environment: str, datname: str) -> str:
    return f"{_prefix(environment)}{quote(datname, safe='').replace('.', '%2E')}.json"
