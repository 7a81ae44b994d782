"""The version table and the way back: stamps with evidence, branches, the reference migrations there and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from actions import Action
from actions.downgrade import Downgrade
from actions.stamp import Stamp
from daemon.demo import schema
from fleet.environment import Environment
from fleet.errors import ActionError
from fleet.policy import TIER_DEFAULTS, Tier
from tests.integration.actions_kit import close, job_for
from tests.integration.migration_trouble import script, settings
from tests.integration.migration_works import (
    ADD,
    ADD_BACK,
    MIGRATE,
    OLD,
    RENAME_1,
    RENAME_1_BACK,
    Works,
)


async def test_a_row_that_the_scripts_do_not_have(works: Works) -> None:
    works.ship(ADD, ADD_BACK)
    await works.sql.execute("update alembic_version set version_num = 'lost'")
    with pytest.raises(ActionError, match="is at lost, which the scripts do not have"):
        await works.run()
    with pytest.raises(ActionError, match="no revision 'nowhere'"):
        await works.run(action=Stamp(), revision="nowhere")
    verdict = await works.run(action=Stamp(), revision="start")
    assert verdict.fixed, verdict.reason
    assert await works.at() == ["start"]


async def test_a_stamp_needs_evidence(works: Works) -> None:
    """The guide's trouble: qa says that the column already exists."""
    works.ship(ADD, ADD_BACK)
    await works.sql.execute("alter table knowledge_items add publication_date date")
    with pytest.raises(ActionError, match=r"not at next in fact: index public\.idx_ki_publication_date is missing"):
        await works.run(action=Stamp(), revision="head")
    assert await works.at() == ["start"]
    await works.sql.execute("create index idx_ki_publication_date on knowledge_items (publication_date)")
    verdict = await works.run(action=Stamp(), revision="head")
    assert verdict.fixed, verdict.reason
    assert "the schema has it in fact" in verdict.reason
    assert await works.at() == ["next"]
    with pytest.raises(ActionError, match="is still there"):
        await works.run(action=Stamp(), revision="start")
    assert (await works.run(action=Stamp(), revision="start", unproven=True)).fixed


async def test_branches_and_their_merge(works: Works) -> None:
    other = script("side", "start", RENAME_1, RENAME_1_BACK)
    merge = script("merged", ("next", "side"), "", "")
    works.ship(ADD, ADD_BACK, **{"2_side": other, "3_merge": merge})
    verdict = await works.run(revision="next", accept=["rehearsal", "backup"])
    assert verdict.fixed, verdict.reason
    verdict = await works.run(revision="side", accept=["backup"])
    assert verdict.fixed, verdict.reason
    assert await works.at() == ["next", "side"]
    verdict = await works.run()
    assert verdict.fixed, verdict.reason
    assert await works.at() == ["merged"]
    verdict = await works.run(action=Downgrade(), revision="start")
    assert verdict.fixed, verdict.reason
    assert await works.columns() == OLD


async def test_the_reference_migrations_pass(
    tmp_path: Path, database: str, sql: asyncpg.Connection, make_environment: Callable[..., Environment]
) -> None:
    """From nothing to HNSW and, two of them, back; with their own env.py, over asyncpg."""
    folder = schema.write_release(tmp_path / "application", schema.HNSW)
    migrations = settings(folder, scripts=folder / "versions", url_scheme=None, session_options="url")
    environment = make_environment(migrations=migrations, policy=TIER_DEFAULTS[Tier.DEVELOPMENT])
    trials: list[tuple[Action[Any], dict[str, str]]] = [(MIGRATE, {}), (Downgrade(), {"revision": schema.PREVIOUS})]
    for action, said in trials:
        job = job_for(environment)
        parameters = action.parameters().model_validate(said)
        plan = await action.plan(job, parameters)
        for step in action.steps(job, parameters, plan):
            await step.run()
        verdict = await action.verify(job, parameters, plan)
        await close(job)
        assert verdict.fixed, verdict.reason
    assert await sql.fetchval("select version_num from alembic_version") == schema.PREVIOUS
