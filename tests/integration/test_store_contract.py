"""Every kind of store, and an encrypted one, does what the seam says."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import fleet.stores
from fleet.plugins import load_plugins
from fleet.secrets import Secrets, SecretText
from fleet.stores import Sealed, Store
from fleet.stores.local import LocalStore
from tests.integration.s3_servers import s3_store
from tests.integration.stores_kit import CHECKS

KEY = SecretText(b64encode(bytes(range(32))).decode())
MADE = ("local", "s3", "sealed")


@pytest.fixture(params=MADE)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "s3":
        return s3_store(request.getfixturevalue("seaweed"), request.getfixturevalue("bucket"))
    local = LocalStore(LocalStore.Options(path=tmp_path / "store"))
    return local if request.param == "local" else Sealed(local, KEY, Secrets(time.monotonic))


@pytest.mark.parametrize("check", CHECKS.values(), ids=list(CHECKS))
async def test_contract(store: Store, check: Callable[[Store], Awaitable[None]]) -> None:
    await check(store)


def test_every_kind_of_store_is_tested() -> None:
    assert load_plugins(fleet.stores, Store).keys() | {"sealed"} == set(MADE)
