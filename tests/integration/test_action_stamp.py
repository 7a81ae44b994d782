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


BACKFILL = 'op.execute("UPDATE knowledge_items SET old_name = upper(old_name)")'
BY_HAND = """
    alter table knowledge_items add publication_date date;
    create index idx_ki_publication_date on knowledge_items (publication_date)
"""
UNPROVABLE = "of third there is nothing in the schema to prove it by"


async def test_what_changes_rows_alone_has_no_evidence(works: Works) -> None:
    """Stamped, the backfill would never run; neither beside a revision that the schema proves."""
    works.ship(ADD, ADD_BACK, **{"2_third": script("third", "next", BACKFILL, "")})
    await works.sql.execute(BY_HAND)
    assert (await works.run(action=Stamp(), revision="next")).fixed
    for at in ("next", "start"):
        await works.sql.execute("update alembic_version set version_num = $1", at)
        with pytest.raises(ActionError, match=UNPROVABLE) as caught:
            await works.run(action=Stamp(), revision="third")
        assert "unproven=true" in (caught.value.hint or "")
        assert await works.at() == [at]
    assert (await works.run(action=Stamp(), revision="third", unproven=True)).fixed
    verdict = await works.run(action=Stamp(), revision="next")  # down: it will run again
    assert verdict.fixed, verdict.reason


async def test_what_does_nothing_needs_no_evidence(works: Works) -> None:
    side = script("side", "start", '"""Nothing by now."""', "")
    extension = script("extension", "merged", 'op.execute("CREATE EXTENSION IF NOT EXISTS vector")', "")
    merge = script("merged", ("next", "side"), "pass", "")
    works.ship(ADD, ADD_BACK, **{"2_side": side, "3_merge": merge, "4_extension": extension})
    await works.sql.execute(BY_HAND)
    await works.sql.execute("create extension if not exists vector")
    for revision in ("side", "merged", "extension"):
        verdict = await works.run(action=Stamp(), revision=revision)
        assert verdict.fixed, verdict.reason
        assert await works.at() == [revision]


async def test_what_a_merge_does_itself_is_judged(works: Works) -> None:
    merge = script("merged", ("next", "side"), 'op.execute("LOCK TABLE knowledge_items")\n' + BACKFILL, "")
    works.ship(ADD, ADD_BACK, **{"2_side": script("side", "start", RENAME_1, ""), "3_merge": merge})
    await works.sql.execute("""
        insert into alembic_version values ('side'); update alembic_version set version_num = 'next'
            where version_num = 'start';
        update pg_class set reltuples = 5e6 where oid = 'knowledge_items'::regclass
    """)
    with pytest.raises(ActionError, match=r"✗ block: merged: ACCESS EXCLUSIVE .* wait about 4 min"):
        await works.run()


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
