"""The pages and the API of backups, over stores that hold real ones."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from actions.restore import Restore
from actions.restore_test import RestoreTest
from actions.verify_backups import VerifyBackups
from daemon.stored import FRESH_SECONDS, StoredBackups
from fleet.backups import Manifest, Pin, Proof, write_pin, write_proof
from fleet.policy import BackupPolicy, Consent, CopyPolicy
from fleet.stores import Stat, Store
from fleet.stores.local import LocalStore
from tests.integration.backups import MakeJob, back_up
from tests.integration.engines import MakeDaemon, TestWorld, request
from tests.integration.restores import MakeSite, take
from tests.integration.watched_pages import Watched, watched
from tests.snapshots import DAY, HOUR, MemoryStore, make_failure, make_snapshot, packs, refusing

RULES = "groups: [{name: none, rules: [{alert: None, expr: vector(0) > 1}]}]"
HOSTILE = "<script>alert(1)</script>\"'<b>"


class CountingStore(LocalStore):
    """Notes how often it was listed."""

    listed = 0

    async def list(self, prefix: str = "") -> list[Stat]:
        self.listed += 1
        return await super().list(prefix)


def use(world: TestWorld, name: str = "qa", **backup: Any) -> BackupPolicy:
    policy = world.environments[name].policy.backup.model_copy(update=backup)
    world.use(name, backup=policy)
    return policy


def broken() -> Store:
    store = MemoryStore()
    store.hook = refusing(("list", ""))
    return store


@pytest.fixture
def local(tmp_path: Path) -> CountingStore:
    return CountingStore(LocalStore.Options(path=tmp_path / "local"))


@pytest.fixture
def offsite(tmp_path: Path) -> LocalStore:
    return LocalStore(LocalStore.Options(path=tmp_path / "offsite"))


@pytest.fixture
async def held(world: TestWorld, local: CountingStore, offsite: LocalStore) -> list[Manifest]:
    """Five days, of which one is missing; the newest is in both stores, one is pinned, one proven; one run failed."""
    now = world.now()
    use(world, copies={"offsite": CopyPolicy()})
    world.stores = {"local": local, "offsite": offsite}
    made = [await make_snapshot(local, now - days * DAY, packs(int(days))) for days in (4, 3, 1)]
    made.append(await make_snapshot(local, now - HOUR, packs(9)))
    await make_snapshot(offsite, now - HOUR, packs(9))
    await write_pin(local, made[0], Pin(at=now, by=HOSTILE, reason=HOSTILE))
    await write_proof(local, made[2], Proof(at=now - 60, seconds=42.0, where="a scratch server"))
    await make_failure(local, now - 2 * HOUR)
    return made


@pytest.fixture
async def site(
    make_daemon: MakeDaemon, world: TestWorld, tmp_path: Path, held: list[Manifest]
) -> AsyncIterator[Watched]:
    daemon = await make_daemon(Restore(), RestoreTest(), VerifyBackups())
    async with watched(
        daemon, tmp_path, RULES, environments=world.environments, stores=world.stores, now=world.now
    ) as site:
        points = [
            ({"__name__": "custode_backup_recovery_point_timestamp_seconds", "environment": "qa", "copy": copy}, at)
            for copy, at in (("local", held[3].started_at), ("offsite", held[3].started_at - 7200))
        ]
        site.land(*points, at=world.now())
        yield site


async def test_all_environments_with_their_copies(site: Watched) -> None:
    seen = await site.get("/backups")
    assert seen.status == 200
    assert "daily 7d" in seen.text
    assert "2h behind the newest" in seen.text
    assert "No backups are promised to dev." in seen.text
    assert await site.nowhere("/backups", seen) == []
    status, told = await site.json("/api/v1/backups")
    assert status == 200
    (qa,) = [one for one in told["data"] if one["environment"] == "qa"]
    assert [copy["behind_seconds"] for copy in qa["copies"]] == [0, 7200]
    assert qa["interval_seconds"] == DAY


async def test_the_backups_of_one(site: Watched, held: list[Manifest]) -> None:
    seen = await site.get("/backups/qa")
    assert seen.status == 200
    for one in held:
        assert one.id in seen.ids
    assert HOSTILE in seen.text, "a name is shown as the text it is"
    assert HOSTILE not in seen.html
    assert (seen.tags.count("b"), seen.handlers) == (0, [])
    for words in (
        "daily within 7d",
        "the last good one",
        "in 42s, on a scratch server",
        "✗ failed",
        "pinned",
        "no backup on",
    ):
        assert words in seen.text
    assert await site.nowhere("/backups/qa", seen) == []


async def test_restore_from_here_is_filled_in_and_only_for_who_may(site: Watched, held: list[Manifest]) -> None:
    seen = await site.get("/backups/qa")
    wanted = f"/actions/new?environment=qa&action=restore&backup={held[3].id}&database=app"
    assert wanted in seen.links
    form = await site.get(wanted)
    assert form.status == 200
    assert f'value="{held[3].id}"' in form.html
    site.person = None
    seen = await site.get("/backups/qa")
    assert not [link for link in seen.links if link.startswith("/actions/new")]
    assert "sign in to act" in seen.text


async def test_what_the_policy_forbids_is_not_offered(site: Watched, world: TestWorld) -> None:
    policy = world.environments["qa"].policy.consent.model_copy(update={"actions": {"restore": Consent.FORBIDDEN}})
    world.use("qa", consent=policy)
    seen = await site.get("/backups/qa")
    assert not [link for link in seen.links if "action=restore&" in link]
    assert "the policy forbids it" in seen.text


async def test_filters_of_the_list(site: Watched, held: list[Manifest]) -> None:
    seen = await site.get("/backups/qa?store=offsite")
    assert [one for one in seen.ids if one.startswith("20")] == [held[3].id]
    assert "There is none like this" in (await site.get("/backups/qa?series=yearly")).text
    assert (await site.get("/backups/qa?months=13")).status == 200
    for wrong in ("months=0", "months=x", "series=hourlyish", "nosuch=1", "after=-1"):
        assert (await site.get(f"/backups/qa?{wrong}")).status == 400, wrong
    assert (await site.get("/backups/nowhere")).status == 404


async def test_the_api_tells_what_the_command_does(site: Watched, held: list[Manifest]) -> None:
    status, told = await site.json("/api/v1/backups/qa")
    assert status == 200
    local, offsite = told["data"]["stores"]
    assert [one["id"] for one in local["backups"] if one["succeeded"]] == [one.id for one in held]
    assert [one["id"] for one in offsite["backups"]] == [held[3].id]
    assert local["backups"][0]["pin"]["reason"] == HOSTILE
    status, told = await site.json("/api/v1/backups/nowhere")
    assert (status, told["errorType"]) == (404, "not_found")
    assert "qa" in told["hint"]
    assert (await site.json("/api/v1/backups?x=1"))[0] == 400


async def test_a_store_out_of_reach_is_told_beside_the_others(
    make_daemon: MakeDaemon, world: TestWorld, tmp_path: Path, local: CountingStore, held: list[Manifest]
) -> None:
    stores = {"local": local, "offsite": broken()}
    async with watched(await make_daemon(), tmp_path, RULES, environments=world.environments, stores=stores) as site:
        seen = await site.get("/backups/qa")
        assert "The store offsite cannot be read" in seen.text
        assert held[0].id in seen.ids
        _, told = await site.json("/api/v1/backups/qa")
        assert [store["problem"] is None for store in told["data"]["stores"]] == [True, False]
        assert json.dumps(told)


async def test_stores_are_not_read_again_at_once(world: TestWorld, local: CountingStore, held: list[Manifest]) -> None:
    now = [world.now()]
    stores: Mapping[str, Store] = {"local": local}
    known = StoredBackups(lambda: stores, lambda: now[0])
    before = local.listed
    first = await known.of(world.environments["qa"])
    assert await known.of(world.environments["qa"]) is first
    assert local.listed == before + 1
    now[0] += FRESH_SECONDS
    again = await known.of(world.environments["qa"])
    assert local.listed == before + 2
    assert again.copies[0].manifests[1] is first.copies[0].manifests[1], "what is known is not read again"
    assert len(again.copies[0].manifests) == len(held) + 1


async def test_a_real_backup_tested_and_verified(
    restoring: MakeSite, content: str, make_daemon: MakeDaemon, world: TestWorld, tmp_path: Path
) -> None:
    job = restoring()
    manifest = await take(job, content)
    world.stores = job.stores
    daemon = await make_daemon(Restore(), RestoreTest(), VerifyBackups())
    for key, action in (("k1", "restore_test"), ("k2", "restore_test"), ("k3", "verify_backups")):
        await daemon.until(await daemon.ask(request(key, "qa", action, by="anna")), seconds=120)
    async with watched(
        daemon, tmp_path, RULES, environments=world.environments, stores=world.stores, now=world.now
    ) as site:
        _, told = await site.json("/api/v1/backups")
        (qa,) = [one for one in told["data"] if one["environment"] == "qa"]
        assert [(one["backup"], one["result"]) for one in qa["tests"]] == [(manifest.id, "fixed")] * 2
        assert qa["tests"][0]["seconds"] > 0
        seen = await site.get("/backups/qa")
        assert seen.tags.count("circle") == 2
        assert "✓ proven" in seen.text
        assert "Restore tests of qa: 2 of 2 proven" in seen.html
        assert "✓ whole" in (await site.get("/backups")).text
        assert await site.nowhere("/backups/qa", seen) == []


async def test_a_file_of_pg_dump_is_not_offered_for_a_restore(
    make_job: MakeJob, make_daemon: MakeDaemon, world: TestWorld, tmp_path: Path, store: LocalStore
) -> None:
    manifest = await back_up(make_job())
    daemon = await make_daemon(Restore(), RestoreTest())
    async with watched(daemon, tmp_path, RULES, environments=world.environments, stores={"local": store}) as site:
        seen = await site.get("/backups/qa")
        assert manifest.id in seen.ids
        assert "it is a file of pg_dump" in seen.text
        assert not [link for link in seen.links if manifest.id in link]
