"""Events in, before a real engine: an alert may what its sender may, and none of a batch keeps the others out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from daemon.actions import Result, RunState
from daemon.actions.port import NotAllowedError
from daemon.actions.views import LedgerFilter, Run, RunFilter
from daemon.config import OperatorSettings
from fleet.policy import Risk
from fleet.secrets import SecretText
from tests.integration.engines import Daemon, MakeDaemon
from tests.integration.scripted import Dangerous, Destructive, Scripted, Size
from tests.integration.webhook_site import FIRING, Site, webhook_site

AM = {"token": SecretText("env:AM_TOKEN")}


@pytest.fixture(autouse=True)
def tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AM_TOKEN", "of-am")
    monkeypatch.setenv("CI_SECRET", "of-ci")


@asynccontextmanager
async def sending(make_daemon: MakeDaemon, am: Mapping[str, Any], **limits: Any) -> AsyncIterator[tuple[Site, Daemon]]:
    people = {"am": OperatorSettings(**AM, **am), "anna": OperatorSettings(), "bruno": OperatorSettings()}
    daemon = await make_daemon(Scripted(), Dangerous(), Destructive(), operators=people, **limits)
    names = {"scripted", "dangerous", "destructive"}
    async with webhook_site(daemon.people, people, lambda name: Size.model_fields if name in names else None) as site:
        yield site, daemon


def alert(environment: str = "qa", action: str = "scripted", **labels: str) -> dict[str, Any]:
    said = {"alertname": "Grew", "environment": environment, "action": action, **labels}
    return {**FIRING, "labels": said, "fingerprint": ""}


async def runs(daemon: Daemon) -> list[Run]:
    return list(await daemon.people.runs(RunFilter()))


@pytest.mark.parametrize(
    ("action", "said"), [("dangerous", "another person must"), ("destructive", "two other people must")]
)
async def test_nobody_approves_what_he_has_sent_as_an_alert(make_daemon: MakeDaemon, action: str, said: str) -> None:
    async with sending(make_daemon, {"may": ("request", "approve")}, self_approval=False) as (site, daemon):
        assert await site.alerts(alert("preprod", action)) == (200, {"asked": 1})
        run = await daemon.until((await runs(daemon))[0], RunState.WAITING)
        with pytest.raises(NotAllowedError, match=f"am asked for this, and {said} approve it"):
            await daemon.people.answer(run.id, "am", approved=True, via="http")
        for person in ("anna", "bruno")[: run.approvals_needed]:
            await daemon.people.answer(run.id, person, approved=True, via="http")
        assert (await daemon.until(run)).result is Result.FIXED


@pytest.mark.parametrize(
    ("bound", "sent"),
    [
        ({"environments": ("qa",)}, alert("preprod")),
        ({"actions": ("scripted",)}, alert(action="dangerous")),
        ({"risks": (Risk.SAFE,)}, alert(action="destructive")),
        ({"may": ("approve",)}, alert()),
    ],
)
async def test_what_its_sender_may_not_is_refused_and_on_record(
    make_daemon: MakeDaemon, bound: Mapping[str, Any], sent: Mapping[str, Any]
) -> None:
    async with sending(make_daemon, bound) as (site, daemon):
        assert await site.alerts(sent) == (200, {"refused": 1})
        assert await runs(daemon) == []
        (entry,) = await daemon.people.entries(LedgerFilter(entry="requested"))
        assert (entry.person, entry.facts["decision"]) == ("am", "refused")


async def test_a_sender_bound_to_a_risk_may_ask_for_what_is_no_worse(make_daemon: MakeDaemon) -> None:
    async with sending(make_daemon, {"risks": (Risk.SAFE,)}) as (site, daemon):
        assert await site.alerts(alert()) == (200, {"asked": 1})
        assert (await daemon.until((await runs(daemon))[0])).result is Result.FIXED


@pytest.mark.parametrize(
    ("strange", "result"),
    [
        pytest.param(alert(alertname="G\0rew" + "x" * 50_000), "asked", id="name"),
        pytest.param(alert(more="\0" + "x" * 50_000), "asked", id="other-label"),
        pytest.param({**alert(), "fingerprint": "\0" + "f" * 5000}, "asked", id="fingerprint"),
        pytest.param({**alert(), "startsAt": "\0" + "2" * 5000}, "asked", id="since"),
        pytest.param({**alert(), "annotations": {"summary": "\0" + "é" * 50_000}}, "asked", id="summary"),
        pytest.param(alert(object="a\0b"), "refused", id="parameter"),
        pytest.param(alert(object="x" * 50_000), "refused", id="long-parameter"),
        pytest.param(alert(size="many"), "refused", id="wrong-parameter"),
        pytest.param(alert("q\0a"), "refused", id="environment"),
        pytest.param(alert("x" * 50_000), "refused", id="long-environment"),
        pytest.param({**alert(), "labels": {"environment": 1}}, "refused", id="number"),
        pytest.param({"status": "firing"}, "refused", id="half"),
        pytest.param(1, "refused", id="none"),
    ],
)
async def test_a_strange_alert_keeps_no_other_out(make_daemon: MakeDaemon, strange: object, result: str) -> None:
    async with sending(make_daemon, {}) as (site, daemon):
        # not the same object: one run of an action on an object is under way at most
        status, told = await site.alerts(alert(object="first"), strange, alert(object="last"))
        assert (status, told) == (200, {"asked": 3} if result == "asked" else {"asked": 2, "refused": 1})
        again = await site.alerts(alert(object="first"), strange, alert(object="last"))
        assert again == (200, {"known": 3} if result == "asked" else {"known": 2, "refused": 1})
        for run in await runs(daemon):
            assert len(run.key) < 100
            assert len(run.requested_by) < 220
            assert "\0" not in run.requested_by + run.reason


async def test_two_alerts_are_two_however_alike(make_daemon: MakeDaemon) -> None:
    async with sending(make_daemon, {}) as (site, daemon):
        for sent in (alert(), {**alert(), "startsAt": "2026-11-24T16:00:00Z"}, alert(more="1")):
            assert await site.alerts(sent) == (200, {"asked": 1})
            for run in await runs(daemon):
                await daemon.until(run)
        assert len({run.key for run in await runs(daemon)}) == 3
