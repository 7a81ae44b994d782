"""Production's data in qa: whole, masked, ready; and nothing of anybody, whatever goes wrong."""

from __future__ import annotations

import asyncio
import json
import shutil
import traceback
from pathlib import Path

import asyncpg
import pytest

from actions import Plan
from actions.refresh import Parameters
from fleet.backups import read_manifests
from fleet.backups.libpq import client_environment
from fleet.client_tools import find_tool
from fleet.data.refused import read_refused
from fleet.data.scan.records import read_record
from fleet.errors import ActionError
from fleet.policy import Tier
from fleet.process import run
from fleet.stores.local import LocalStore
from tests.integration.migration_trouble import KIT, settings, write_application
from tests.integration.refreshes import ACTION, COLUMNS, PLANTED, Fleet
from tests.integration.restores import take

_FOLDER = """
    select current_setting('data_directory') || '/base/' || oid from pg_database where datname = current_database()
"""

_CONNECTS = """
    select array[has_database_privilege('refresh_guest', current_database(), 'connect'),
        has_database_privilege('refresh_guest', current_database(), 'temporary')]
"""


def _content(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())


async def test_all_is_there_and_nobody_is(fleet: Fleet, store: LocalStore) -> None:
    fleet.use({"test_data": ["insert into users (email, full_name) values ('tester@qa.invalid', 'tester')"]})
    plan, verdict = await fleet.refresh()
    assert verdict.fixed, verdict.reason
    assert "no personal data" in verdict.reason
    assert "4 tables, 3 of them masked, 1 emptied" in plan.summary
    for query in (
        "select count(*) = 61 and count(distinct email) = 61 from users",
        "select bool_and(shown = 'user ' || id) from users",
        "select bool_and(moods = '{ill,well}') from users where full_name <> 'tester'",
        "select bool_and(profile = '{\"theme\": \"dark\"}') from users where full_name <> 'tester'",
        "select count(*) = 500 and bool_and(length = length(title)) and sum(price) = 125250::money from notes",
        "select count(*) = 60 from crm.calls_2026",
        "select count(*) = 0 from messages",
        "select nextval('messages_id_seq') = 1 and nextval('rates_id_seq') = 31",
        "select nextval(pg_get_serial_sequence('users', 'id')) > 61",
        "select count(*) = 60 from per_owner",
        "select count(*) = 0 from pg_index where not indisvalid",
        "select count(*) = 1 from pg_trigger where tgname = 'touched'",
        "select count(*) = 3 from pg_constraint where contype = 'f' and conparentid = 0",
        "select count(*) = 1 from pg_stats where tablename = 'notes' and attname = 'title'",
        "select to_regnamespace('custode_restore') is null and to_regnamespace('custode_refresh') is null",
    ):
        assert await fleet.fetchval(query), query
    assert await fleet.beside() == []
    (record,) = await store.list("refreshes/qa/")
    said = json.loads(b"".join([part async for part in store.get(record.key)]))
    assert (said["environment"], said["source"]) == ("qa", "production")
    scanned = await read_record(store, "qa", fleet.database)
    assert scanned is not None
    assert (scanned.findings, scanned.sampled) == ((), False)
    assert scanned.finished_at < said["finished_at"], "scanned before it was swapped"


async def test_no_planted_value_is_anywhere_in_files_or_catalogue(fleet: Fleet) -> None:
    _, verdict = await fleet.refresh()
    assert verdict.fixed, verdict.reason
    job = fleet.job()
    variables = await client_environment(fleet.qa, job.secrets, fleet.database)
    dump = await run([(await find_tool("pg_dump", None)).path, "--no-password"], env=variables)
    statistics = await fleet.fetchval("select string_agg(s::text, ' ') from pg_stats s")
    await fleet.execute("checkpoint")
    files = await asyncio.to_thread(_content, Path(await fleet.fetchval(_FOLDER)))
    assert b"articolo 77" in files, "what is kept can be found so"
    for value in PLANTED:
        assert value.lower() not in dump.lower(), value
        assert value.lower() not in statistics.lower(), value
        assert value.lower().encode() not in files.lower(), value


async def test_what_nobody_decided_on_stops_it(fleet: Fleet) -> None:
    fleet.decide(rates=None, users={name: each for name, each in COLUMNS["users"].items() if name != "iban"})
    with pytest.raises(ActionError, match="2 things must be decided first") as refused:
        await ACTION.plan(fleet.job(), Parameters())
    assert "rates: nobody decided on this table" in refused.value.message
    assert "users.iban" in refused.value.message
    assert refused.value.hint is not None
    assert "custode data classify qa" in refused.value.hint


async def test_a_column_that_comes_after_the_plan_stops_it(fleet: Fleet) -> None:
    plan = await ACTION.plan(fleet.job(), Parameters())
    await fleet.execute("alter table notes add secret text", fleet.source)
    with pytest.raises(ActionError, match=r"notes\.secret"):
        await ACTION.steps(fleet.job(), Parameters(), plan)[0].run()
    assert await fleet.beside() == []


async def test_a_policy_that_has_changed_since_the_plan_stops_it(fleet: Fleet) -> None:
    plan = await ACTION.plan(fleet.job(), Parameters())
    fleet.decide(rates="empty")
    with pytest.raises(ActionError, match="has changed since"):
        await ACTION.steps(fleet.job(), Parameters(), plan)[0].run()


async def test_no_key_no_copy(fleet: Fleet) -> None:
    fleet.qa = fleet.qa.model_copy(
        update={
            "policy": fleet.qa.policy.model_copy(
                update={"data": fleet.qa.policy.data.model_copy(update={"mask_key": None})}
            )
        }
    )
    with pytest.raises(ActionError, match="no key for masks"):
        await ACTION.plan(fleet.job(), Parameters())


async def test_what_a_scan_finds_is_not_swapped_and_not_told(fleet: Fleet) -> None:
    await fleet.execute("insert into rates (rate) values (4711)")
    fleet.decide(notes={**COLUMNS["notes"], "body": "keep"})
    plan = await ACTION.plan(fleet.job(), Parameters())
    with pytest.raises(ActionError) as found:
        await fleet.run(plan, Parameters())
    assert "public.notes.body: 500 card" in found.value.message
    assert not any(value in str(found.value) for value in PLANTED)
    assert await fleet.fetchval("select count(*) = 1 and sum(rate) = 4711 from rates"), "the old data serves"
    await ACTION.undo(fleet.job(), Parameters(), plan)
    assert await fleet.beside() == [], "and what was found is gone"
    assert not (await ACTION.verify(fleet.job(), Parameters(), plan)).fixed
    (refused,) = await read_refused(fleet.stores["local"], "qa")
    assert refused.datname == fleet.database
    assert "public.notes.body: 500 card" in [each.shown for each in refused.findings]
    fleet.decide()
    await fleet.refresh()
    assert await read_refused(fleet.stores["local"], "qa") == []


async def test_production_is_never_the_target(fleet: Fleet) -> None:
    plan = await ACTION.plan(fleet.job(), Parameters())
    honest = fleet.qa
    fleet.qa = honest.model_copy(update={"tier": Tier.PRODUCTION})
    with pytest.raises(ActionError, match="never replaced"):
        await ACTION.plan(fleet.job(), Parameters(source="production"))
    production = fleet.others["production"]
    misled = {"dsn": production.dsn, "databases": production.databases}
    fleet.qa = honest.model_copy(update=misled)
    with pytest.raises(ActionError, match="is a database of production"):
        await ACTION.plan(fleet.job(), Parameters())
    fleet.qa = honest
    with pytest.raises(ActionError, match="never replaced"):
        await ACTION.plan(fleet.job(tiers={}), Parameters(source="production"))
    with pytest.raises(ActionError, match="from itself"):
        await ACTION.plan(fleet.job(), Parameters(source="qa"))
    second = production.model_copy(update={"name": "second", "dsn": honest.dsn, "databases": honest.databases})
    fleet.others["second"] = second
    for step in ACTION.steps(fleet.job(), Parameters(), plan):
        with pytest.raises(ActionError, match="is a database of second"):
            await step.run()
    assert await fleet.fetchval("select count(*) = 60 from users", fleet.source)


async def test_rights_are_those_of_the_database_that_is_replaced(fleet: Fleet) -> None:
    await fleet.execute("""
        create role refresh_app nologin; create role refresh_reader nologin;
        create role refresh_prod nologin
    """)
    try:
        await fleet.execute(f"""
            alter database "{fleet.database}" owner to refresh_app; alter table notes owner to refresh_reader;
            grant select on notes to refresh_app; alter database "{fleet.database}" set work_mem = '7MB'
        """)
        await fleet.execute("alter table users owner to refresh_prod; grant all on notes to refresh_prod", fleet.source)
        await fleet.execute("create table later (id int)", fleet.source)
        await fleet.execute("create extension pg_trgm")
        fleet.decide(later="empty")
        _, verdict = await fleet.refresh()
        assert verdict.fixed, verdict.reason
        owners = (
            "select string_agg(distinct pg_get_userbyid(relowner)::text, ' ') from pg_class where relname = any('{}')"
        )
        assert await fleet.fetchval(owners.format("{later}")) == "refresh_app"
        assert await fleet.fetchval(owners.format("{notes}")) == "refresh_reader"
        assert await fleet.fetchval("select has_table_privilege('refresh_app', 'notes', 'select')")
        assert not await fleet.fetchval("select has_table_privilege('refresh_prod', 'notes', 'select')")
        assert await fleet.fetchval("show work_mem") == "7MB"
        assert await fleet.fetchval("select count(*) = 1 from pg_extension where extname = 'pg_trgm'")
    finally:
        await fleet.execute(f'drop database "{fleet.source}" with (force)', "postgres")
        await fleet.execute("""
            reassign owned by refresh_app, refresh_reader to postgres; drop owned by refresh_app, refresh_reader;
        """)
        await fleet.execute(f'alter database "{fleet.database}" owner to postgres', "postgres")
        await fleet.execute("drop role refresh_app, refresh_reader, refresh_prod", "postgres")


async def test_out_of_a_backup(fleet: Fleet) -> None:
    production = fleet.job().elsewhere
    assert production is not None
    await take(production("production"), fleet.source)
    (manifest,) = await read_manifests(fleet.stores["local"], "production")
    await fleet.execute("insert into rates (rate) values (4711)", fleet.source)  # since
    plan, verdict = await fleet.refresh(rows_from="backup")
    assert verdict.fixed, verdict.reason
    assert plan.objects[0]["backup"]["backup"] == manifest.id
    assert await fleet.fetchval("select count(*) = 30 from rates")
    assert await fleet.fetchval("select count(*) = 60 and not bool_or(email like '%rossi%') from users")


async def test_a_row_that_is_not_taken_is_not_quoted(fleet: Fleet) -> None:
    await fleet.execute("alter table users add check (full_name like 'M% R%')", fleet.source)
    plan = await ACTION.plan(fleet.job(), Parameters())
    with pytest.raises(ActionError, match="users does not take a masked row: CheckViolation") as refused:
        await ACTION.steps(fleet.job(), Parameters(), plan)[0].run()
    told = "".join(traceback.format_exception(refused.value))
    assert ".invalid" not in told
    assert "rossi" not in told.lower()


async def _until(fleet: Fleet, last: str) -> Plan:
    """The steps up to `last`, each in a process of its own."""
    plan = await ACTION.plan(fleet.job(), Parameters())
    job = fleet.job()
    for number in range(plan.steps.index(last) + 1):
        job = fleet.job(data=job.data)
        await ACTION.steps(job, Parameters(), plan)[number].run()
    return plan


async def test_what_is_written_after_the_swap_stays_whatever_goes_wrong(fleet: Fleet) -> None:
    await fleet.execute("insert into rates (rate) values (4711)")
    plan = await _until(fleet, "swap")
    await fleet.execute("insert into rates (rate) values (0815)")
    old = f"{fleet.database}_old_0123456789ab"
    with pytest.raises(ActionError, match="is not taken back") as told:
        await ACTION.undo(fleet.job(), Parameters(), plan)
    assert old in str(told.value.hint), "and what it replaced is not lost either"
    assert await fleet.fetchval("select count(*) = 31 and max(rate) = 815 from rates")
    assert await fleet.beside() == [old]
    await fleet.execute(f'drop database "{old}"', "postgres")
    await ACTION.undo(fleet.job(), Parameters(), plan)
    assert await fleet.fetchval("select count(*) = 31 and max(rate) = 815 from rates")


async def test_a_store_that_takes_no_note_does_not_fail_what_is_done(fleet: Fleet, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    await asyncio.to_thread((folder / "refreshes").write_text, "in the way")
    _, verdict = await fleet.refresh()
    assert verdict.fixed, verdict.reason
    assert "not on record" in verdict.reason
    assert await fleet.beside() == []


@pytest.mark.parametrize("own_rights", [False, True])
async def test_nobody_else_comes_in_before_it_was_scanned(fleet: Fleet, own_rights: bool) -> None:
    await fleet.execute("create role refresh_guest nologin")
    try:
        if own_rights:
            database = f'database "{fleet.database}"'
            await fleet.execute(f"revoke all on {database} from public; grant connect on {database} to refresh_guest")
        before = await fleet.fetchval(_CONNECTS)
        await _until(fleet, "scan")
        (new,) = await fleet.beside()
        assert await fleet.fetchval(_CONNECTS, new) == [False, False]
        await ACTION.undo(fleet.job(), Parameters(), await ACTION.plan(fleet.job(), Parameters()))
        await fleet.refresh()
        assert await fleet.fetchval(_CONNECTS) == before == [True, not own_rights]
    finally:
        await fleet.execute(f'revoke all on database "{fleet.database}" from refresh_guest', "postgres")
        await fleet.execute("drop role refresh_guest", "postgres")


@pytest.mark.parametrize("in_one_process", [False, True])
async def test_who_is_in_the_backup_alone_is_known(fleet: Fleet, tmp_path: Path, in_one_process: bool) -> None:
    production = fleet.job().elsewhere
    assert production is not None
    await take(production("production"), fleet.source)
    await fleet.execute("truncate users cascade", fleet.source)
    fleet.decide(users={**COLUMNS["users"], "full_name": "keep"})
    asked = Parameters(rows_from="backup")
    plan = await ACTION.plan(fleet.job(), asked)
    job = fleet.job()
    steps = ACTION.steps(job, asked, plan)
    scan = plan.steps.index("scan")
    for step in steps[:scan]:
        await step.run()
    if in_one_process:
        await asyncio.to_thread(shutil.rmtree, tmp_path / "store")  # it is not needed any more
    else:
        steps = ACTION.steps(fleet.job(data=job.data), asked, plan)
    with pytest.raises(ActionError, match=r"public\.users\.full_name: 60 name"):
        await steps[scan].run()


async def test_the_old_database_can_be_kept(fleet: Fleet) -> None:
    await fleet.refresh(keep_old=True)
    assert await fleet.beside() == [f"{fleet.database}_old_0123456789ab"]
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
        await fleet.connect(f"{fleet.database}_old_0123456789ab")


class TestRevision:
    """Of the Alembic scripts one, two, three."""

    @pytest.fixture(autouse=True)
    async def _with_alembic(self, fleet: Fleet, tmp_path: Path) -> None:
        application = settings(write_application(tmp_path / "application", KIT))
        described = fleet.qa.model_dump() | {"migrations": application, "policy": fleet.qa.policy, "dsn": fleet.qa.dsn}
        fleet.qa = type(fleet.qa).model_validate(described)
        version = "create table alembic_version (version_num text primary key); create table migrated (what text)"
        for database in (fleet.source, fleet.database):
            await fleet.execute(version, database)
        fleet.decide(alembic_version={"version_num": "keep"}, migrated={"what": "keep"})

    async def test_the_copy_is_upgraded_to_what_the_target_was_at(self, fleet: Fleet) -> None:
        await fleet.execute("insert into alembic_version values ('one')", fleet.source)
        await fleet.execute("insert into alembic_version values ('three')")
        _, verdict = await fleet.refresh()
        assert verdict.fixed, verdict.reason
        assert await fleet.fetchval("select array_agg(version_num) = '{three}' from alembic_version")
        assert await fleet.fetchval("select to_regclass('notes_at') is not null")

    async def test_a_target_behind_production_is_migrated_first(self, fleet: Fleet) -> None:
        await fleet.execute("insert into alembic_version values ('three')", fleet.source)
        await fleet.execute("insert into alembic_version values ('one')")
        with pytest.raises(ActionError, match="qa is at one, and production at three"):
            await ACTION.plan(fleet.job(), Parameters())
