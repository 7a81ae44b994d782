"""The actions that work on stored backups: what they plan, leave alone, and say when something stands in the way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from actions import Action, Job, Plan, Verdict
from actions.pin_backup import PinBackup
from actions.prune_backups import PruneBackups
from actions.replicate_backups import ReplicateBackups
from actions.verify_backups import VerifyBackups
from fleet.backups import Manifest, Pin, backup_prefix, manifest_key, read_manifests, write_pin
from fleet.backups.catalogue import put_bytes
from fleet.backups.manifest import PIN, POOL
from fleet.backups.pool import read_damaged
from fleet.environment import Environment
from fleet.errors import ActionError, StoreError
from fleet.policy import TIER_DEFAULTS, CopyPolicy, Policy, Retention, Tier
from fleet.secrets import SecretText
from tests.integration.actions_kit import close, job_for, run_all
from tests.snapshots import DAY, ENVIRONMENT, HOUR, MemoryStore, make_failure, make_snapshot, nothing, packs, refusing

NOW = 1_800_000_000.0
COPIES = {"offsite": CopyPolicy(), "archive": CopyPolicy(retention=Retention(monthly=timedelta(days=365)))}
BACKUP = TIER_DEFAULTS[Tier.QA].backup.model_copy(update={"copies": COPIES})


@pytest.fixture
def stores() -> dict[str, MemoryStore]:
    return {"local": MemoryStore(), "offsite": MemoryStore(), "archive": MemoryStore()}


Begin = Callable[..., Job]


@pytest.fixture
async def begin(stores: dict[str, MemoryStore]) -> AsyncIterator[Begin]:
    made: list[Job] = []

    def make(**fields: Any) -> Job:
        policy = Policy(backup=BACKUP)
        environment = Environment(name="qa", tier=Tier.QA, dsn=SecretText("postgresql://nowhere/app"), policy=policy)
        made.append(job_for(environment, **({"stores": stores, "now": lambda: NOW} | fields)))
        return made[-1]

    yield make
    for job in made:
        await close(job)


async def whole_run(action: Action[Any], job: Job, **said: Any) -> tuple[Plan, Verdict]:
    parameters = action.parameters().model_validate(said)
    plan = await action.plan(job, parameters)
    await run_all(action, job, parameters, plan)
    return plan, await action.verify(job, parameters, plan)


async def days(store: MemoryStore, *ages: float) -> list[Manifest]:
    return [await make_snapshot(store, NOW - age * DAY, packs(1, int(age * 24) + 9)) for age in ages]


async def ids(store: MemoryStore) -> set[str]:
    return {one.id for one in await read_manifests(store, ENVIRONMENT)}


async def test_a_prune_says_what_stays_and_why(stores: dict[str, MemoryStore], begin: Begin) -> None:
    old, *recent = await days(stores["local"], 40, 3, 2, 1)
    plan, verdict = await whole_run(PruneBackups(), begin())
    assert verdict.fixed, verdict.reason
    assert plan.summary == "remove 1 of 4 backup(s)"
    assert plan.commands == (f"remove {old.id} from local: no series keeps it",)
    assert [one["why"] for one in plan.objects] == [
        "no series keeps it",
        "daily within 7d",
        "daily within 7d",
        "daily within 7d; the last good one",
    ]
    assert plan.effect.startswith("3 backup(s) stay (3 daily)")
    assert await ids(stores["local"]) == {one.id for one in recent}
    assert float(plan.figures["stored_bytes"]) > float(verdict.figures["stored_bytes"]) > 0
    assert (await PruneBackups().plan(begin(), PruneBackups().parameters()())).steps == ()


async def test_each_copy_is_pruned_by_its_own_retention(stores: dict[str, MemoryStore], begin: Begin) -> None:
    for store in stores.values():
        await days(store, 70, 40, 39.5, 1)
    _, verdict = await whole_run(PruneBackups(), begin())
    assert verdict.fixed, verdict.reason
    assert [len(await ids(store)) for store in stores.values()] == [1, 1, 3]


async def test_after_a_failed_run_nothing_goes_anywhere(stores: dict[str, MemoryStore], begin: Begin) -> None:
    for store in stores.values():
        await days(store, 40, 1)
    await make_failure(stores["local"], NOW - HOUR)
    plan = await PruneBackups().plan(begin(), PruneBackups().parameters()())
    assert plan.steps == ()
    assert plan.summary == "remove 0 of 7 backup(s); the newest run failed: nothing is removed"


async def test_where_the_first_store_cannot_be_read_no_copy_is_pruned(
    stores: dict[str, MemoryStore], begin: Begin
) -> None:
    await days(stores["offsite"], 40, 1)
    stores["local"].hook = refusing(("list", ""))
    for said in ({}, {"store": "offsite"}):
        with pytest.raises(ActionError, match="cannot be read") as raised:
            await whole_run(PruneBackups(), begin(), **said)
        assert raised.value.hint == "nothing is removed from the copies either"


async def test_a_copy_that_cannot_be_read_stays_as_it_is(stores: dict[str, MemoryStore], begin: Begin) -> None:
    await days(stores["local"], 40, 1)
    await days(stores["offsite"], 40, 1)
    stores["offsite"].hook = refusing(("list", ""))
    plan, verdict = await whole_run(PruneBackups(), begin())
    assert verdict.fixed, verdict.reason
    assert "the store 'offsite' cannot be read and stays as it is" in plan.summary
    stores["offsite"].hook = nothing
    assert len(await ids(stores["offsite"])) == 2


async def test_what_was_pinned_after_the_plan_stays(stores: dict[str, MemoryStore], begin: Begin) -> None:
    old, _ = await days(stores["local"], 40, 1)
    action, job = PruneBackups(), begin()
    plan = await action.plan(job, action.parameters()())
    await write_pin(stores["local"], old, Pin(at=NOW, by="me", reason="audit"))
    await run_all(action, job, action.parameters()(), plan)
    assert old.id in await ids(stores["local"])
    assert (await action.verify(job, action.parameters()(), plan)).fixed


@pytest.mark.parametrize("change", ["pinned", "failed"])
async def test_what_changes_while_others_are_removed_is_seen(
    stores: dict[str, MemoryStore], begin: Begin, change: str
) -> None:
    store = stores["local"]
    old = await days(store, 52, 50, 40)
    await days(store, 1)
    action, job = PruneBackups(), begin()
    plan = await action.plan(job, action.parameters()())
    assert [one["id"] for one in plan.objects if not one["keep"]] == [one.id for one in old]
    left: list[str] = []

    async def hook(call: str, key: str) -> None:  # when the first of them has gone
        if call == "delete" and key.endswith("/manifest.json") and not left:
            left.extend(one.id for one in old if manifest_key(ENVIRONMENT, one.id) != key)
            for one in old:
                if one.id in left and change == "pinned":
                    await write_pin(store, one, Pin(at=NOW, by="me", reason="audit"))
            if change == "failed":
                await make_failure(store, NOW - HOUR)

    store.after = hook
    await run_all(action, job, action.parameters()(), plan)
    assert len(left) == 2
    assert set(left) < await ids(store)
    assert (await action.verify(job, action.parameters()(), plan)).fixed


async def test_a_pin_that_cannot_be_understood_is_told_and_can_be_taken_away(
    stores: dict[str, MemoryStore], begin: Begin
) -> None:
    old, _ = await days(stores["local"], 40, 1)
    await put_bytes(stores["local"], backup_prefix(ENVIRONMENT, old.id) + PIN, b"{")
    plan, verdict = await whole_run(PruneBackups(), begin())
    assert verdict.fixed, verdict.reason
    assert plan.objects[0]["why"] == "pinned: its pin cannot be understood"
    _, verdict = await whole_run(PinBackup(), begin(), id=old.id, unpin=True)
    assert verdict.fixed, verdict.reason
    assert verdict.figures == {"pins": 0}


async def test_what_a_store_refuses_to_delete_is_told(stores: dict[str, MemoryStore], begin: Begin) -> None:
    old, older, _ = await days(stores["local"], 40, 50, 1)
    stores["local"].hook = refusing(("delete", old.id))
    _, verdict = await whole_run(PruneBackups(), begin())
    assert not verdict.fixed
    assert old.id in verdict.reason
    assert "not allowed" in verdict.reason
    assert older.id not in await ids(stores["local"])


async def test_a_copy_gets_what_its_retention_keeps(stores: dict[str, MemoryStore], begin: Begin) -> None:
    made = await days(stores["local"], 70, 40, 2, 1)
    await make_failure(stores["local"], NOW - HOUR)
    plan, verdict = await whole_run(ReplicateBackups(), begin())
    assert verdict.fixed, verdict.reason
    assert await ids(stores["offsite"]) == {one.id for one in made[2:]}
    assert await ids(stores["archive"]) == {made[0].id, made[1].id, made[3].id}
    assert (plan.figures, verdict.figures) == ({"lacking": 5}, {"lacking": 0})
    again = await ReplicateBackups().plan(begin(), ReplicateBackups().parameters()())
    assert again.steps == ()
    with pytest.raises(ActionError, match="'elsewhere'"):
        await whole_run(ReplicateBackups(), begin(), store="elsewhere")


async def test_a_copy_that_lacks_an_object_is_not_fixed(stores: dict[str, MemoryStore], begin: Begin) -> None:
    (made,) = await days(stores["local"], 1)
    action, job = ReplicateBackups(), begin()
    parameters = action.parameters().model_validate({"store": "offsite"})
    plan = await action.plan(job, parameters)
    await run_all(action, job, parameters, plan)
    del stores["offsite"].objects[next(key for key in stores["offsite"].objects if key.startswith(POOL))]
    verdict = await action.verify(job, parameters, plan)
    assert not verdict.fixed
    assert f"{made.id} in offsite: objects/qa/" in verdict.reason


async def test_all_copies_are_looked_at_and_damage_is_told(stores: dict[str, MemoryStore], begin: Begin) -> None:
    (made,) = await days(stores["local"], 1)
    await whole_run(ReplicateBackups(), begin())
    plan, verdict = await whole_run(VerifyBackups(), begin(), read_data=True)
    assert verdict.fixed, verdict.reason
    assert plan.steps == tuple(f"read {made.id} in {name}" for name in stores)
    key = next(key for key in stores["offsite"].objects if key.startswith(POOL))
    content, at = stores["offsite"].objects[key]
    stores["offsite"].objects[key] = content[:-1] + bytes([content[-1] ^ 1]), at
    _, verdict = await whole_run(VerifyBackups(), begin(), id=made.id)
    assert verdict.fixed, "nothing is read"
    _, verdict = await whole_run(VerifyBackups(), begin(), id=made.id, read_data=True)
    assert not verdict.fixed
    assert verdict.reason.startswith(f"{made.id} in offsite: {key}")
    assert verdict.figures == {"backups": 3, "damaged": 1, "sound": 2}
    assert [await read_damaged(store, ENVIRONMENT) for store in stores.values()] == [set(), {key}, set()]


async def test_what_could_not_be_read_is_not_sound(stores: dict[str, MemoryStore], begin: Begin) -> None:
    await days(stores["local"], 1)
    action, job = VerifyBackups(), begin()
    parameters = action.parameters().model_validate({"read_data": True})
    plan = await action.plan(job, parameters)
    stores["local"].hook = refusing(("get", POOL))
    with pytest.raises(StoreError):
        await run_all(action, job, parameters, plan)
    assert not (await action.verify(job, parameters, plan)).fixed


async def test_a_pin_is_set_and_taken_away_in_every_store(stores: dict[str, MemoryStore], begin: Begin) -> None:
    (made,) = await days(stores["local"], 1)
    await whole_run(ReplicateBackups(), begin())
    plan, verdict = await whole_run(PinBackup(), begin(), id=made.id, reason="audit")
    assert verdict.fixed, verdict.reason
    assert len(plan.steps) == 3
    for store in stores.values():
        (there,) = await read_manifests(store, ENVIRONMENT)
        assert there.pin is not None
        assert there.pin.reason == "audit"
    _, verdict = await whole_run(PinBackup(), begin(), id=made.id, unpin=True)
    assert verdict.fixed, verdict.reason
    assert verdict.figures == {"pins": 0}
    for action in (PinBackup(), VerifyBackups()):
        with pytest.raises(ActionError, match="no store has a backup 'nothing'"):
            await whole_run(action, begin(), id="nothing")
