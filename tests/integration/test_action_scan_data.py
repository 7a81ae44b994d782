"""The scan as an action: what it tells, and whom it looks for."""

from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from actions.scan_data import Parameters, ScanData
from collectors import Target
from collectors.data import DataCollector
from fleet.environment import Environment
from fleet.errors import ActionError
from fleet.policy import TIER_DEFAULTS, Tier
from fleet.stores.local import LocalStore
from tests.integration.actions_kit import at_work, run_all
from tests.integration.sites import samples

EMAIL = "anna.verdi@ditta.it"


def qa_store(tmp_path: Path) -> LocalStore:
    return LocalStore(LocalStore.Options(path=tmp_path / "store"))


async def test_the_action_tells_places_and_the_collector_shows_them(
    sql: asyncpg.Connection,
    database: str,
    make_environment: Callable[..., Environment],
    make_target: Callable[..., Target],
    tmp_path: Path,
) -> None:
    await sql.execute(f"create table users as select '{EMAIL}' as email, 'x' as note from generate_series(1, 3)")  # noqa: S608
    store, environment, action = qa_store(tmp_path), make_environment(), ScanData()
    async with at_work(environment, stores={"local": store}) as job:
        plan = await action.plan(job, Parameters())
        await run_all(action, job, Parameters(), plan)
        verdict = await action.verify(job, Parameters(), plan)
    assert not verdict.fixed
    assert verdict.reason == f"personal data in 1 place(s): {database}.public.users.email: 3 email"
    assert EMAIL not in str(verdict)
    (path,) = (tmp_path / "store").glob("scans/qa/*.json")
    assert EMAIL not in path.read_text()
    target = make_target(environment, stores={"local": store})
    series = samples(await DataCollector(DataCollector.Options()).collect(target))
    assert series["custode_data_findings"] == {(database, "public", "users", "email", "email"): 3}
    assert series["custode_data_scan_sampled"] == {(database,): 0}
    assert series["custode_data_scan_timestamp_seconds"].keys() == {(database,)}


async def test_the_action_looks_for_the_users_of_every_production(
    sql: asyncpg.Connection, make_environment: Callable[..., Environment], tmp_path: Path
) -> None:
    await sql.execute("create table users (full_name text); insert into users values ('Anna Verdi')")
    environment = make_environment(tier=Tier.QA)
    production = make_environment("production", Tier.PRODUCTION)
    action = ScanData()
    async with at_work(production) as site:
        fields = {"tiers": {"qa": Tier.QA, "production": Tier.PRODUCTION}, "elsewhere": lambda _name: site}
        async with at_work(environment, stores={"local": qa_store(tmp_path)}, **fields) as job:
            plan = await action.plan(job, Parameters())
            await run_all(action, job, Parameters(), plan)
            assert "personal data in 1 place(s)" in (await action.verify(job, Parameters(), plan)).reason
            assert "Verdi" not in str(job.data)
            plan = await action.plan(job, Parameters(people=False))
            await run_all(action, job, Parameters(people=False), plan)
            assert (await action.verify(job, Parameters(people=False), plan)).fixed


async def test_production_may_hold_personal_data(make_environment: Callable[..., Environment], tmp_path: Path) -> None:
    environment = make_environment("production", Tier.PRODUCTION, TIER_DEFAULTS[Tier.PRODUCTION])
    async with at_work(environment, stores={"local": qa_store(tmp_path)}) as job:
        with pytest.raises(ActionError, match="may hold personal data"):
            await ScanData().plan(job, Parameters())
        with pytest.raises(ActionError, match="may hold personal data"):
            await ScanData().plan(job, Parameters(datname="nowhere"))
