"""The gate: the guide's migrations pass, broken versions of them are stopped where they do no harm."""

from __future__ import annotations

from dataclasses import replace

import asyncpg
import pytest

from actions import Job
from actions.downgrade import Downgrade
from actions.migrate import Parameters
from fleet.errors import ActionError
from fleet.policy import Tier
from tests.integration.actions_kit import job_for
from tests.integration.migration_trouble import ENV_PY, script
from tests.integration.migration_works import (
    ADD,
    ADD_BACK,
    CONCURRENT,
    DROP,
    DROP_BACK,
    MIGRATE,
    OLD,
    RENAME_1,
    RENAME_1_BACK,
    Works,
)


async def test_adding_a_column(works: Works) -> None:
    """The guide's first example, with all that the plan says."""
    works.ship(ADD, ADD_BACK)
    job = works.job()
    verdict = await works.run(job)
    assert verdict.fixed, verdict.reason
    assert works.plan.steps == ("rehearse", "backup", "upgrade next", "check")
    assert await works.columns() == OLD | {"publication_date"}
    assert await works.at() == ["next"]
    told = works.plan.effect
    for part in (
        "✓ below: no environment comes first",
        "✓ lint: squawk finds nothing that refuses; it remarks next require-concurrent-index-creation",
        "✓ block: others will wait 0.1 s at most",
        "✓ backup: one is taken and verified first",
        "ACCESS EXCLUSIVE on knowledge_items: reads and writes wait about no time",
        "SHARE on knowledge_items: writes wait",
        "first: upgrade, downgrade, upgrade on a scratch server",
        "way back: custode act downgrade qa -p revision=start",
    ):
        assert part in told
    assert works.plan.commands[0] == "alembic upgrade next"
    assert "  ALTER TABLE knowledge_items ADD COLUMN publication_date DATE" in works.plan.commands
    assert f"--backup {job.data['backup']}" in verdict.reason
    assert (await MIGRATE.plan(works.job(), Parameters())).steps == ()

    back = await works.run(works.job(), Downgrade(), revision="-1")
    assert "  ALTER TABLE knowledge_items DROP COLUMN publication_date" in works.plan.commands
    assert "way back: custode migrate qa next" in works.plan.effect
    assert back.fixed, back.reason
    assert await works.columns() == OLD
    assert await works.at() == ["start"]


async def test_a_fresh_backup_will_do(works: Works) -> None:
    works.ship(ADD, ADD_BACK)
    first, second = works.job(), works.job(tier=Tier.PREPROD)
    await works.run(first, until="upgrade next", accept=["rehearsal"])
    await works.run(second, until="upgrade next", accept=["rehearsal"])
    assert second.data["backup"] == first.data["backup"]
    assert "minutes old and whole" in works.plan.effect
    late = works.job(now=lambda: first.now() + 3600)
    assert "one is taken and verified first" in (await MIGRATE.plan(late, Parameters())).effect
    development = works.job(tier=Tier.DEVELOPMENT)
    assert "backup" not in (await MIGRATE.plan(development, Parameters())).steps


async def test_a_rename_in_two_steps(works: Works) -> None:
    second = script("third", "next", DROP.format("old_name"), DROP_BACK.format("old_name"))
    works.ship(RENAME_1, RENAME_1_BACK, **{"2_third": second})
    with pytest.raises(ActionError, match="✗ ban-drop-column: third"):
        await works.run()
    assert await works.at() == ["start"]
    assert (await works.run(revision="next", accept=["backup"])).fixed
    assert await works.sql.fetchval("select count(*) from knowledge_items where new_name = old_name") == 1000
    verdict = await works.run(accept=["ban-drop-column", "backup"])
    assert verdict.fixed, verdict.reason
    assert "! ban-drop-column, accepted" in works.plan.effect
    assert await works.columns() == {"id", "new_name", "unused_field"}


async def test_a_copy_of_all_rows_under_a_lock_is_refused(works: Works) -> None:
    works.ship(RENAME_1, RENAME_1_BACK)
    await works.sql.execute("update pg_class set reltuples = 5e6 where oid = 'knowledge_items'::regclass")
    with pytest.raises(ActionError, match=r"✗ block: next: ACCESS EXCLUSIVE .* wait about 4 min"):
        await works.run()


async def test_what_cannot_be_told_is_a_decision(works: Works) -> None:
    up = 'op.execute("DO $$ BEGIN ALTER TABLE knowledge_items ALTER id TYPE bigint; END $$")'
    works.ship(up, 'op.execute("ALTER TABLE knowledge_items ALTER id TYPE int")')
    said = r"✗ block: next: what it locks cannot be told beforehand \(DO \$\$ BEGIN ALTER TABLE knowledge_items"
    with pytest.raises(ActionError, match=said) as caught:
        await MIGRATE.plan(works.job(), Parameters())
    assert "accept=block" in (caught.value.hint or "")
    assert "! block, accepted" in (await MIGRATE.plan(works.job(), Parameters(accept=("block",)))).effect
    works.ship(REFUSED["needs the server to be printed"][0], "pass")
    plan = await MIGRATE.plan(works.job(), Parameters(accept=("sql",)))
    assert "at most, once it has its locks; of next nothing is known" in plan.effect


async def test_a_partitioned_table_is_as_large_as_its_partitions(works: Works) -> None:
    await works.sql.execute("""
        create table parts (id int, old_name text) partition by range (id);
        create table parts_1 partition of parts for values from (0) to (1000) partition by range (id);
        create table parts_1_1 partition of parts_1 for values from (0) to (1000);
        alter table parts_1_1 alter old_name set storage external;
        insert into parts select i, repeat('x', 8000) from generate_series(1, 999) i;
        analyze parts
    """)
    works.ship('op.create_index("parts_id", "parts", ["id"])', 'op.drop_index("parts_id")')
    plan = await MIGRATE.plan(works.job(), Parameters())
    assert "✓ block: others will wait 0.2 s at most" in plan.effect
    works.ship(RENAME_1.replace("knowledge_items", "parts"), RENAME_1_BACK.replace("knowledge_items", "parts"))
    await works.sql.execute(
        "update pg_class set reltuples = 5e6 where oid in ('parts'::regclass, 'parts_1_1'::regclass)"
    )
    with pytest.raises(ActionError, match=r"✗ block: next: ACCESS EXCLUSIVE on parts: .* wait about 4 min"):
        await MIGRATE.plan(works.job(), Parameters())


async def test_dropping_a_column_is_a_decision(works: Works) -> None:
    works.ship(DROP.format("unused_field"), DROP_BACK.format("unused_field"))
    with pytest.raises(ActionError, match="ban-drop-column") as caught:
        await works.run()
    assert "accept=ban-drop-column" in (caught.value.hint or "")
    assert (await works.run(accept=["ban-drop-column", "backup"])).fixed
    assert await works.columns() == {"id", "old_name"}


REFUSED = {
    "renamed in one step": ('op.alter_column("knowledge_items", "old_name", new_column_name="n")', "renaming-column"),
    "a column that rows lack": (
        'op.add_column("knowledge_items", sa.Column("n", sa.Text(), nullable=False))',
        "adding-required-field",
    ),
    "concurrently within a transaction": (
        'op.execute("CREATE INDEX CONCURRENTLY i ON knowledge_items (old_name)")',
        "ban-concurrent-index-creation-in-transaction",
    ),
    "another type": ('op.alter_column("knowledge_items", "old_name", type_=sa.String(9))', "changing-column-type"),
    "no sql": ('op.execute("ALTER TABEL knowledge_items ADD x int")', "syntax-error"),
    "needs the server to be printed": (
        'op.execute("SELECT 1" if op.get_bind().execute(sa.text("SELECT 1")).scalar() else "")',
        "sql",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_the_plan_refuses(works: Works, name: str) -> None:
    up, check = REFUSED[name]
    works.ship(up, "pass")
    with pytest.raises(ActionError, match=f"✗ {check}: next"):
        await works.run()
    assert await works.columns() == OLD


STOPPED = {
    "no downgrade": (ADD, "raise NotImplementedError", "the downgrade of next fails: .*NotImplementedError"),
    "a downgrade that does nothing": (
        RENAME_1,
        "pass",
        "the downgrade does not lead back: column public.knowledge_items.new_name is extra",
    ),
    "a downgrade that forgets": (
        CONCURRENT,
        "pass",
        "the downgrade does not lead back: index public.idx_old_name is extra",
    ),
    "a column that is there": (
        'op.add_column("knowledge_items", sa.Column("old_name", sa.Text()))',
        "pass",
        'the upgrade fails: .*column "old_name" of relation "knowledge_items" already exists',
    ),
}


@pytest.mark.parametrize("name", STOPPED)
async def test_what_the_rehearsal_stops(works: Works, name: str) -> None:
    up, back, said = STOPPED[name]
    works.ship(up, back)
    job = works.job()
    with pytest.raises(ActionError, match=said):
        await works.run(job)
    assert (await works.columns(), await works.at(), set(await works.indexes())) == (
        OLD,
        ["start"],
        {"knowledge_items_pkey"},
    )
    assert "backup" not in job.data


async def test_without_a_way_back_only_where_that_is_accepted(works: Works) -> None:
    works.ship(ADD, "raise NotImplementedError")
    verdict = await works.run(accept=["downgrade", "backup"])
    assert verdict.fixed, verdict.reason
    assert "upgrade on a scratch server" in works.plan.effect


DEAF = ENV_PY.replace("import os", "import os\nos.environ.pop('PGOPTIONS', None)")
NAMELESS = ENV_PY.replace("import os", "import os\nos.environ.pop('PGAPPNAME', None)")


@pytest.mark.parametrize(
    ("env", "said"),
    [(DEAF, "lock_timeout does not reach its sessions"), (NAMELESS, "its sessions call themselves ''")],
    ids=["deaf", "nameless"],
)
async def test_an_env_py_that_cannot_be_held_is_found_on_the_copy(works: Works, env: str, said: str) -> None:
    works.ship(ADD, ADD_BACK, env=env)
    with pytest.raises(ActionError, match=said) as caught:
        await works.run()
    assert "server_settings" in (caught.value.hint or "")
    assert await works.columns() == OLD


async def test_the_tiers_below_come_first(works: Works) -> None:
    works.ship(ADD, ADD_BACK)
    other = works.job()

    def visit(name: str) -> Job:
        return replace(other, environment=other.environment.model_copy(update={"name": name}))

    job = works.job(tier=Tier.PREPROD, tried_on=("development", "qa"), elsewhere=visit)
    with pytest.raises(ActionError, match="✗ below: development is at start and lacks next\n✗ below: qa is at start"):
        await MIGRATE.plan(job, Parameters())
    assert "! below, accepted" in (await MIGRATE.plan(job, Parameters(accept=("below",)))).effect
    with pytest.raises(ActionError, match="nobody tells which environments come first"):
        await MIGRATE.plan(works.job(tried_on=None), Parameters())
    with pytest.raises(ActionError, match="qa is out of reach"):
        await MIGRATE.plan(works.job(tried_on=("qa",)), Parameters())


async def test_what_is_on_record_below_must_be_there_in_fact(works: Works, second: asyncpg.Connection) -> None:
    """The guide's team had all migrations applied by the table, and 44 tables missing."""
    works.ship(ADD, ADD_BACK)
    await second.execute("""
        create table knowledge_items (id int primary key, old_name text, unused_field text, publication_date date);
        create table alembic_version (version_num varchar(32) not null constraint alembic_version_pkc primary key);
        insert into alembic_version values ('next')
    """)
    name = await second.fetchval("select current_database()")
    other = works.job()
    other = job_for(other.environment.model_copy(update={"name": "qa", "databases": (name,)}))
    works.jobs.append(other)
    job = works.job(tier=Tier.PREPROD, tried_on=("qa",), elsewhere=lambda _name: other)
    with pytest.raises(
        ActionError, match=r"qa says that it has next, but index public\.idx_ki_publication_date is missing"
    ):
        await works.run(job)
    assert "✓ below: qa has all of them, it is at next" in works.plan.effect
    assert await works.at() == ["start"]
    await second.execute("create index idx_ki_publication_date on knowledge_items (publication_date)")
    assert (await works.run(job, accept=["backup"])).fixed
