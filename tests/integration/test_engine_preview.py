"""A dry run says what would come of a request, and changes nothing."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from actions import Job
from daemon.actions.port import NotPossibleError
from fleet.errors import ActionError
from fleet.policy import Consent, ConsentPolicy
from tests.integration.engines import ALERT, Daemon, MakeDaemon, TestWorld, request
from tests.integration.scripted import Destructive, Gate, Raises, Scripted


async def rows(daemon: Daemon) -> dict[str, int]:
    tables = await daemon.sql("select tablename from pg_tables where schemaname = 'custode'")
    counts = {}
    for table in tables:
        (row,) = await daemon.sql(f"select count(*) from {table['tablename']}")  # noqa: S608 - a name of ours
        counts[table["tablename"]] = row["count"]
    return counts


@pytest.mark.parametrize(
    ("environment", "decision", "reason", "consent"),
    [
        ("dev", "allowed", "nothing speaks against it", "auto"),
        ("preprod", "allowed", "nothing speaks against it", "two_approvals"),
        ("prod", "refused", "the policy of prod forbids destructive actions", "forbidden"),
    ],
)
async def test_it_says_what_the_guard_says_and_changes_nothing(  # noqa: PLR0917 - a row of the table
    make_daemon: MakeDaemon, world: TestWorld, environment: str, decision: str, reason: str, consent: str
) -> None:
    action = Destructive()
    world.use("prod", consent=ConsentPolicy(destructive=Consent.FORBIDDEN))
    daemon = await make_daemon(action)
    before = await rows(daemon)
    found = await daemon.people.preview(request(environment=environment, action="destructive", parameters={"size": 2}))
    assert (found.decision, found.reason, found.consent) == (decision, reason, consent)
    assert found.plan is not None
    assert (found.plan.summary, found.parameters) == (f"work of size 2 on {environment}", {"size": 2, "object": ""})
    assert await rows(daemon) == before
    assert (action.done, daemon.world.events, daemon.engine.running()) == ([], [], [])


async def test_its_digest_is_that_of_the_run(make_daemon: MakeDaemon) -> None:
    daemon = await make_daemon(Scripted())
    asked = request(parameters={"size": 2})
    found = await daemon.people.preview(asked)
    run = await daemon.until(await daemon.ask(asked))
    assert found.digest == run.digest


async def test_what_runs_and_what_is_stopped_is_told(make_daemon: MakeDaemon, world: TestWorld) -> None:
    gate = Gate()
    daemon = await make_daemon(Scripted(first=gate))
    run = await daemon.ask(request())
    await gate.until_reached()
    found = await daemon.people.preview(request("k2"))
    assert found.decision == "waits"
    assert run.id in found.reason
    await daemon.people.stop("anna", via="cli", reason="a fire")
    found = await daemon.people.preview(request("k2"))
    assert (found.decision, found.reason) == ("refused", "all actions are stopped, by anna: a fire")
    gone = await daemon.people.preview(request("k3", "qa2", alert=ALERT))
    assert (gone.decision, "has ended" in gone.reason) == ("refused", True)
    gate.go.set()


async def test_nothing_may_be_changed(make_daemon: MakeDaemon) -> None:
    async def changes(job: Job) -> None:
        async with job.changes.acquire():
            pass

    daemon = await make_daemon(Scripted(planning=changes))
    with pytest.raises(ActionError, match="dry run: nothing may be changed"):
        await daemon.people.preview(request())


@pytest.mark.parametrize("error", [ActionError("no"), asyncpg.UndefinedTableError("no"), OSError("no")])
async def test_what_cannot_be_planned_is_told(make_daemon: MakeDaemon, error: Exception) -> None:
    daemon = await make_daemon(Scripted(planning=Raises(error)))
    with pytest.raises(ActionError, match="no"):
        await daemon.people.preview(request())


@pytest.mark.parametrize("fields", [{"action": "x"}, {"environment": "x"}, {"parameters": {"size": "x"}}])
async def test_what_makes_no_sense_is_told(make_daemon: MakeDaemon, fields: dict[str, Any]) -> None:
    daemon = await make_daemon(Scripted())
    with pytest.raises(NotPossibleError):
        await daemon.people.preview(request(**fields))
