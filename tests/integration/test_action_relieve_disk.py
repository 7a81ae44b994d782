"""What would free room is found and ranked; what nobody needs goes, the rest is asked for."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
from typer import BadParameter

from actions import Plan, Verdict
from actions.cleanup import Parameters as CleanupParameters
from actions.drop_unused_index import Parameters as DropParameters
from actions.relieve_disk import Parameters, RelieveDisk
from actions.vacuum import Parameters as VacuumParameters
from actions.vacuum_full import Parameters as FullParameters
from daemon.cli._act import read_parameters
from fleet.environment import Environment
from fleet.policy import TIER_DEFAULTS, Policy, Tier
from fleet.stores.local import LocalStore
from tests.integration.actions_kit import Ground, at_work, plant_invalid_indexes, run_all
from tests.integration.cleanup_trouble import BLOATED, SCHEMA, with_retention
from tests.snapshots import DAY, HOUR, make_snapshot, packs

MakeEnvironment = Callable[..., Environment]
POLICY = with_retention(TIER_DEFAULTS[Tier.QA])
ALL = Parameters(least_bytes=1)


async def relieve(environment: Environment, store: LocalStore | None = None) -> tuple[Plan, Verdict]:
    async with at_work(environment, stores={} if store is None else {"local": store}) as job:
        plan = await RelieveDisk().plan(job, ALL)
        await run_all(RelieveDisk(), job, ALL, plan)
        return plan, await RelieveDisk().verify(job, ALL, plan)


def room(folder: Path, limit: int) -> dict[str, object]:
    return {"quota": {"path": str(folder), "limit": limit}}


def asked(plan: Plan) -> list[list[str]]:
    """The commands that the plan tells people, in its order."""
    lines = plan.effect.splitlines()[1:]
    return [shlex.split(line[line.index("custode act ") :])[2:] for line in lines if "custode act " in line]


async def test_the_rest_is_ranked_with_its_commands(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, database: str, tmp_path: Path
) -> None:
    await sql.execute(BLOATED)
    await sql.execute("vacuum analyze notes")
    await sql.execute(SCHEMA)
    await sql.execute("insert into conversations select i, now() - interval '1 year' from generate_series(1, 9) i")
    store = LocalStore(LocalStore.Options(path=tmp_path / "store"))
    await make_snapshot(store, time.time() - 40 * DAY, packs(1, 2))
    await make_snapshot(store, time.time() - HOUR, packs(2, 3))
    environment = make_environment(policy=POLICY, disks=room(tmp_path, 10**10))
    plan, _ = await relieve(environment, store)
    assert not plan.steps
    names = [command[0] for command in asked(plan)]
    assert names == ["prune_backups", "reindex", "cleanup", "vacuum_full"]
    assert "1 backup(s) past the policy in local" in plan.effect
    parameters = [read_parameters(command[3::2]) for command in asked(plan)]
    assert CleanupParameters.model_validate(parameters[2]).relname == "conversations"
    assert FullParameters.model_validate(parameters[3]).datname == database
    assert "to decide: " in plan.summary
    assert float(plan.figures["to_decide_bytes"]) > 2**20


async def test_names_survive_the_shell_and_yaml(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, tmp_path: Path
) -> None:
    for name in ("no", "1e3", 'it\'s: a "test", [x]', "ünder score", "$(rm)"):
        quoted = '"' + name.replace('"', '""') + '"'
        await sql.execute(f"create table {quoted} (at timestamptz)")
        await sql.execute(f"insert into {quoted} values ('2000-01-01')")  # noqa: S608
    rules = tuple(
        POLICY.data.row_retention[0].model_copy(update={"table": name, "column": "at"})
        for name in ("no", "1e3", 'it\'s: a "test", [x]', "ünder score", "$(rm)")
    )
    policy: Policy = POLICY.model_copy(update={"data": POLICY.data.model_copy(update={"row_retention": rules})})
    plan, _ = await relieve(make_environment(policy=policy, disks=room(tmp_path, 10**10)))
    found = set()
    for command in asked(plan):
        try:
            found.add(CleanupParameters.model_validate(read_parameters(command[3::2])).relname)
        except BadParameter as error:
            pytest.fail(str(error))
    assert found == {rule.table for rule in rules}


async def test_it_is_judged_by_the_free_bytes(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, database: str, tmp_path: Path
) -> None:
    (tmp_path / "data").write_bytes(b"x" * 100_000)
    ground = Ground("", database, sql, tmp_path)
    await plant_invalid_indexes(ground)
    plan, verdict = await relieve(make_environment(disks=room(tmp_path, 10**10)))
    assert len(plan.steps) == 2
    assert verdict.fixed, verdict.reason
    assert (plan.figures["left_overs"], verdict.figures["left_overs"]) == (2, 0)
    await sql.execute("drop event trigger count_dropped; drop table notes, dropped_objects")
    await plant_again(sql)
    _, verdict = await relieve(make_environment(disks=room(tmp_path, 110_000)))
    assert not verdict.fixed
    assert "less than the promised 10%" in verdict.reason
    await plant_again(sql)
    _, verdict = await relieve(make_environment())
    assert not verdict.fixed
    assert "unknown" in verdict.reason


async def plant_again(sql: asyncpg.Connection) -> None:
    await sql.execute("create table if not exists again (id int)")
    await sql.execute("insert into again values (1), (1)")
    with pytest.raises(asyncpg.UniqueViolationError):
        await sql.execute("create unique index concurrently on again (id)")


async def test_a_slot_that_nobody_reads_is_told_and_left(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, tmp_path: Path
) -> None:
    slot = "forgotten_slot"
    await sql.execute("select pg_create_physical_replication_slot($1, true)", slot)
    try:
        await sql.execute("create table notes as select i from generate_series(1, 1000) i")
        plan, _ = await relieve(make_environment(disks=room(tmp_path, 10**10)))
        assert plan.effect.splitlines()[-1].endswith(f"(destructive): SELECT pg_drop_replication_slot('{slot}')")
        assert await sql.fetchval("select count(*) from pg_replication_slots where slot_name = $1", slot) == 1
    finally:
        await sql.execute("select pg_drop_replication_slot($1)", slot)


def test_an_unused_index_is_called_as_its_action_wants_it() -> None:
    said = ["datname=app", "schemaname=public", "relname=notes", "indexrelname=by_kind"]
    assert DropParameters.model_validate(read_parameters(said)).names == ("public", "notes", "by_kind")


async def test_dead_rows_that_autovacuum_left_are_vacuumed(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, database: str, tmp_path: Path
) -> None:
    await sql.execute(
        "create table notes with (autovacuum_enabled = false) as select i from generate_series(1, 9000) i"
    )
    await sql.execute("delete from notes where i > 3000")
    await sql.fetchval("select pg_stat_force_next_flush()")
    plan, _ = await relieve(make_environment(disks=room(tmp_path, 10**10)))
    (command,) = [command for command in asked(plan) if command[0] == "vacuum"]
    parameters = VacuumParameters.model_validate(read_parameters(command[3::2]))
    assert (parameters.datname, parameters.schemaname, parameters.relname) == (database, "public", "notes")


async def test_what_is_short_is_asked_for_in_order_and_no_more(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, tmp_path: Path
) -> None:
    await sql.execute(SCHEMA)
    await sql.execute("insert into conversations select i, now() - interval '1 year' from generate_series(1, 9) i")
    store = LocalStore(LocalStore.Options(path=tmp_path / "store"))
    await make_snapshot(store, time.time() - 40 * DAY, packs(1, 2))
    await make_snapshot(store, time.time() - HOUR, packs(2, 3))
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "data").write_bytes(b"x" * 100_000)
    for limit, wanted in ((10**10, []), (111_110, ["prune_backups"]), (100_001, ["prune_backups", "cleanup"])):
        environment = make_environment(policy=POLICY, disks=room(tmp_path / "disk", limit))
        async with at_work(environment, stores={"local": store}) as job:
            plan = await RelieveDisk().plan(job, ALL)
            told = await RelieveDisk().plan(job, Parameters(least_bytes=1, ask=False))
        assert [one["action"] for one in plan.objects] == wanted, limit
        assert told.objects == ()
