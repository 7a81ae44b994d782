"""A backup restored for proof on a scratch server: what it says is true, and nothing is left."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from actions import Job
from actions.restore_test import Parameters, RestoreTest
from fleet.backups import read_manifest
from fleet.environment import Environment
from fleet.errors import ActionError, CustodeError, StoreError
from fleet.policy import BackupPolicy, Policy
from fleet.stores.local import LocalStore
from tests.integration.restores import MakeSite, databases, run_steps, take

ACTION = RestoreTest()


def left_overs(job: Job) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"custode-scratch-{job.run_id}-*"))


async def test_it_proves_the_newest_backup_elsewhere(
    restoring: MakeSite, content: str, store: LocalStore, sql: asyncpg.Connection
) -> None:
    manifest = await take(restoring(), content)
    before = await databases(sql, "")
    job, parameters = restoring(), Parameters(database=content)
    plan = await ACTION.plan(job, parameters)
    assert plan.figures == {"last_proof_timestamp_seconds": 0.0}
    await run_steps(ACTION, job, parameters, plan)
    verdict = await ACTION.verify(job, parameters, plan)
    assert verdict.fixed, verdict.reason
    assert verdict.figures["rows"] == 8800
    proof = (await read_manifest(store, "qa", manifest.id)).proof
    assert proof is not None
    assert proof.queryable_seconds is not None
    assert 0 < proof.queryable_seconds <= proof.seconds
    assert proof.where == "a scratch server"
    assert left_overs(job) == []
    assert await databases(sql, "") == before


async def test_what_cannot_be_restored_is_no_pass(restoring: MakeSite, content: str, store: LocalStore) -> None:
    manifest = await take(restoring(), content)
    for stat in await store.list("objects/"):
        path = store._root / stat.key
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    job, parameters = restoring(), Parameters(database=content)
    plan = await ACTION.plan(job, parameters)
    with pytest.raises(StoreError, match="damaged"):
        await run_steps(ACTION, job, parameters, plan)
    assert not (await ACTION.verify(job, parameters, plan)).fixed
    assert (await read_manifest(store, "qa", manifest.id)).proof is None
    assert left_overs(job) == []


async def test_a_question_that_is_answered_wrong_is_no_pass(
    restoring: MakeSite, make_environment: Callable[..., Environment], content: str, store: LocalStore
) -> None:
    manifest = await take(restoring(), content)
    policy = Policy(backup=BackupPolicy(smoke_queries=("select count(*) > 10000 from items",)))
    job, parameters = restoring(make_environment(policy=policy)), Parameters(database=content)
    plan = await ACTION.plan(job, parameters)
    await run_steps(ACTION, job, parameters, plan)
    verdict = await ACTION.verify(job, parameters, plan)
    assert not verdict.fixed
    assert "smoke query" in verdict.reason
    assert (await read_manifest(store, "qa", manifest.id)).proof is None


async def test_one_that_could_not_run_is_no_pass(
    restoring: MakeSite, make_environment: Callable[..., Environment], content: str, store: LocalStore
) -> None:
    manifest = await take(restoring(), content)
    policy = Policy(backup=BackupPolicy(restore_tests_on="preprod"))
    job, parameters = restoring(make_environment(policy=policy)), Parameters(database=content)
    plan = await ACTION.plan(job, parameters)
    with pytest.raises(CustodeError, match="could not run"):
        await run_steps(ACTION, job, parameters, plan)
    assert (await read_manifest(store, "qa", manifest.id)).proof is None


async def test_there_must_be_something_to_restore(restoring: MakeSite) -> None:
    with pytest.raises(ActionError, match="no backup that can be restored"):
        await ACTION.plan(restoring(), Parameters())
