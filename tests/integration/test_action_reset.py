"""A database begun anew: at head, with test data, or refreshed; asked for as the tier wants it, in production never."""

from __future__ import annotations

from pathlib import Path

import pytest

from actions.reset import Parameters, Reset
from fleet.errors import ActionError
from fleet.policy import TIER_DEFAULTS, Consent, Tier
from tests.integration.migration_trouble import KIT, settings, write_application
from tests.integration.refreshes import Fleet

ACTION = Reset()


@pytest.fixture
def migrated(fleet: Fleet, tmp_path: Path) -> Fleet:
    """qa with the scripts one, two, three."""
    application = settings(write_application(tmp_path / "application", KIT))
    described = fleet.qa.model_dump() | {"migrations": application, "policy": fleet.qa.policy, "dsn": fleet.qa.dsn}
    fleet.qa = type(fleet.qa).model_validate(described)
    return fleet


async def reset(fleet: Fleet, **said: object) -> str:
    """The whole of it; the verdict's reason."""
    parameters = Parameters.model_validate(said)
    plan = await ACTION.plan(fleet.job(), parameters)
    job = fleet.job()
    for number in range(len(plan.steps)):
        job = fleet.job(data=job.data)
        await ACTION.steps(job, parameters, plan)[number].run()
    verdict = await ACTION.verify(job, parameters, plan)
    assert verdict.fixed, verdict.reason
    return verdict.reason


async def test_empty_at_head_with_test_data(migrated: Fleet) -> None:
    migrated.use({"test_data": ["insert into notes (text) values ('one')", "insert into notes (text) values ('two')"]})
    await reset(migrated)
    assert await migrated.fetchval("select array_agg(text order by id) = '{one,two}' from notes")
    assert await migrated.fetchval("select array_agg(version_num::text) = '{three}' from alembic_version")
    assert await migrated.fetchval("select to_regclass('users') is null")
    assert await migrated.fetchval("select count(*) = 2 from pg_extension where extname in ('vector', 'citext')")
    assert await migrated.beside() == []


async def test_test_data_that_is_not_taken_leaves_what_was_there(migrated: Fleet) -> None:
    migrated.use({"test_data": ["insert into notes (id) values (1)", "insert into notes (id) values (1)"]})
    parameters = Parameters()
    plan = await ACTION.plan(migrated.job(), parameters)
    *_, finish, _check, _swap, _clean = ACTION.steps(migrated.job(), parameters, plan)
    for step in ACTION.steps(migrated.job(), parameters, plan)[:2]:
        await step.run()
    with pytest.raises(ActionError, match="test_data is not taken: UniqueViolation"):
        await finish.run()
    await ACTION.undo(migrated.job(), parameters, plan)
    assert await migrated.fetchval("select to_regclass('users') is not null")
    assert await migrated.beside() == []


async def test_with_a_refresh(migrated: Fleet) -> None:
    version = "create table alembic_version (version_num text primary key); create table migrated (what text)"
    await migrated.execute(version, migrated.source)
    await migrated.execute("insert into alembic_version values ('one')", migrated.source)
    migrated.decide(alembic_version={"version_num": "keep"}, migrated={"what": "keep"})
    reason = await reset(migrated, data="refresh")
    assert "came from production" in reason
    assert await migrated.fetchval("select array_agg(version_num) = '{three}' from alembic_version")
    assert await migrated.fetchval("select count(*) = 60 and not bool_or(email like '%rossi%') from users")


async def test_without_scripts_there_is_nothing_to_begin_with(fleet: Fleet) -> None:
    with pytest.raises(ActionError, match="no scripts"):
        await ACTION.plan(fleet.job(), Parameters())


async def test_production_is_never_reset_whatever_is_configured(migrated: Fleet) -> None:
    plan = await ACTION.plan(migrated.job(), Parameters())
    migrated.qa = migrated.qa.model_copy(update={"tier": Tier.PRODUCTION})
    with pytest.raises(ActionError, match="never replaced"):
        await ACTION.plan(migrated.job(), Parameters())
    for step in ACTION.steps(migrated.job(), Parameters(), plan):
        with pytest.raises(ActionError, match="never replaced"):
            await step.run()
    assert await migrated.beside() == []


@pytest.mark.parametrize(
    ("tier", "consent"),
    [
        (Tier.DEVELOPMENT, Consent.AUTO),
        (Tier.QA, Consent.ONE_APPROVAL),
        (Tier.PREPROD, Consent.TWO_APPROVALS),
    ],
)
def test_whom_it_is_asked_of(tier: Tier, consent: Consent) -> None:
    assert TIER_DEFAULTS[tier].consent.of(ACTION.risk, ACTION.name) is consent
