"""Events in, over real sockets: a real Alertmanager's webhook, forged, replayed and huge ones, our own alerts."""

from __future__ import annotations

import io
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from daemon.actions.request import Source
from daemon.actions.views import Run
from daemon.config import OperatorSettings
from daemon.web import _actions_input
from daemon.web.webhooks import MAX_BODY, MOST_ALERTS
from daemon.webhooks import signed
from fleet.secrets import SecretText
from tests.integration.action_site import MemoryActions
from tests.integration.alertmanagers import alertmanagers, needs_alertmanager, until
from tests.integration.webhook_site import BEARER, FIRING, Site, webhook_site


@dataclass
class Events:
    """A site before runs in memory."""

    port: MemoryActions
    site: Site

    @property
    def runs(self) -> list[Run]:
        return [detail.run for detail in self.port.details.values()]


@pytest.fixture
async def events(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Events]:
    monkeypatch.setenv("AM_TOKEN", "of-am")
    monkeypatch.setenv("CI_SECRET", "of-ci")
    port = MemoryActions(frozen=True)
    people = {
        "am": OperatorSettings(token=SecretText("env:AM_TOKEN")),
        "ci": OperatorSettings(webhook_secret=SecretText("env:CI_SECRET")),
        "vera": OperatorSettings(webhook_secret=SecretText("env:CI_SECRET")),
        "lost": OperatorSettings(webhook_secret=SecretText("env:T_NOT_SET")),
        "Ada": OperatorSettings(),
    }
    known = {"analyze", "vacuum"}
    roles = {"vera": "viewer"}
    async with webhook_site(port, people, lambda name: {"relname"} if name in known else None, roles=roles) as site:
        yield Events(port, site)


@pytest.fixture
def site(events: Events) -> Site:
    return events.site


async def test_an_alert_that_names_an_action_asks_for_it_once(events: Events, site: Site) -> None:
    assert await site.alerts(FIRING, FIRING) == (200, {"asked": 1, "known": 1})
    assert await site.alerts(FIRING) == (200, {"known": 1})
    (run,) = events.runs
    assert (run.environment, run.action, run.parameters, run.reason) == (
        "qa",
        "analyze",
        {"relname": "docs"},
        "it grew",
    )
    assert (run.source, run.requested_by, run.alert) == (Source.ALERT, "alert TableGrew of am", None)
    assert run.sender == "am"
    later = {**FIRING, "startsAt": "2026-11-24T16:00:00Z"}
    assert await site.alerts(later) == (200, {"asked": 1})
    assert site.counted == {("alertmanager", "asked"): 2, ("alertmanager", "known"): 2}


@pytest.mark.parametrize(
    ("changed", "result"),
    [
        ({"status": "resolved"}, "resolved"),
        ({"annotations": {"sent_by": "custode"}}, "ours"),
        ({"generatorURL": "http://custode.example/alerts/0123456789abcdef"}, "ours"),
        ({"labels": {**FIRING["labels"], "action": "drop_everything"}}, "no_action"),
        ({"labels": {"alertname": "A", "action": "analyze"}}, "no_action"),
        ({"labels": {**FIRING["labels"], "action": "vacuum"}}, "refused"),
    ],
)
async def test_what_asks_for_nothing_is_taken_and_nothing_happens(
    events: Events, site: Site, changed: Mapping[str, Any], result: str
) -> None:
    assert await site.alerts({**FIRING, **changed}) == (200, {result: 1})
    assert events.runs == []


async def test_who_sends_must_be_known(events: Events, site: Site) -> None:
    for headers in ({}, {"Authorization": "Bearer of-ci"}, {"Authorization": "Basic b2YtYW0="}):
        status, _ = await site.alerts(FIRING, headers=headers)
        assert status == 401
    assert events.runs == []


async def test_what_is_no_webhook_of_alertmanager_is_refused(events: Events, site: Site) -> None:
    assert await site.alerts(FIRING, version="5") == (400, "only version 4 of Alertmanager's webhook is known, not '5'")
    for body in (b"", b"[]", b"\xff", b'{"version": "4"}', b'{"version": "4", "alerts": 1}'):
        status, told = await site.post("alertmanager", body, headers=BEARER)
        assert (status, told.startswith("this is no webhook of Alertmanager")) == (400, True), body
    status, told = await site.post("alertmanager", io.BytesIO(b" " * (MAX_BODY + 1)), headers=BEARER)
    assert (status, told) == (413, f"the body is too large: more than {MAX_BODY} bytes")
    assert events.runs == []


async def test_of_very_many_alerts_the_first_count(site: Site) -> None:
    several = [{**FIRING, "fingerprint": f"{number:016x}"} for number in range(MOST_ALERTS + 5)]
    assert await site.alerts(*several) == (200, {"asked": MOST_ALERTS, "too_many": 5})


async def test_while_the_state_database_is_away_it_is_to_come_again(events: Events, site: Site) -> None:
    events.port.away = True
    status, _ = await site.alerts(FIRING)
    assert status == 503
    events.port.away = False
    assert await site.alerts(FIRING) == (200, {"asked": 1})


ASK = {"action": "analyze", "environment": "qa", "parameters": {"relname": "docs"}, "reason": "import done"}


async def test_a_signed_webhook_asks_as_its_operator_and_again_it_is_the_same(events: Events, site: Site) -> None:
    status, made = await site.signed(ASK)
    assert (status, made["new"]) == (200, True)
    status, again = await site.signed(ASK)
    assert (status, again["new"], again["run"]["id"]) == (200, False, made["run"]["id"])
    (run,) = events.runs
    assert (run.requested_by, run.source, run.reason) == ("ci", Source.PERSON, "import done")


async def test_who_did_not_sign_is_refused_and_learns_nothing(events: Events, site: Site) -> None:
    told = set()
    for name in ("Ada", "nobody", "am", "lost"):
        status, said = await site.signed(ASK, name)
        told.add((status, said))
        forged = signed("nobody", "m1", time.time(), json.dumps(ASK).encode())
        told.add(await site.post(f"from/{name}", json.dumps(ASK).encode(), headers=forged))
    told.add(await site.signed(ASK, **{"webhook-id": "m2"}))
    assert told == {(401, "webhook-signature is wrong")}
    old = signed("of-ci", "m1", time.time() - 400, json.dumps(ASK).encode())
    status, said = await site.post("from/ci", json.dumps(ASK).encode(), headers=old)
    assert (status, said) == (401, "webhook-timestamp is more than 5 minutes away from now")
    assert events.runs == []


async def test_a_signed_webhook_that_says_nonsense_is_refused(events: Events, site: Site) -> None:
    for body in ({"action": "analyze"}, {**ASK, "more": 1}, {**ASK, "environment": "\0"}, [1]):
        status, _ = await site.signed(body)
        assert status == 400, body
    assert events.runs == []


async def test_a_secret_that_cannot_be_read_is_for_the_log_alone(site: Site) -> None:
    with capture_logs() as logs:
        status, said = await site.signed(ASK, "lost")
    assert (status, said) == (401, "webhook-signature is wrong")
    assert [(one["operator"], "T_NOT_SET" in one["error"]) for one in logs if "operator" in one] == [("lost", True)]


async def test_a_body_is_not_read_before_its_headers_can_be_right(events: Events, site: Site) -> None:
    old = signed("of-ci", "m1", time.time() - 400, b"")
    for headers in ({}, old):
        answer = io.BytesIO(b" " * (8 * MAX_BODY))
        status, _ = await site.post("from/ci", answer, headers={"Expect": "100-continue", **headers})
        assert status == 401
    proof = signed("of-ci", "m1", time.time(), b"")
    status, said = await site.post("from/ci", io.BytesIO(b" " * (_actions_input.MAX_BODY + 1)), headers=proof)
    assert (status, said) == (413, f"the body is too large: more than {_actions_input.MAX_BODY} bytes")
    assert events.runs == []


async def test_signatures_that_are_wrong_count_as_failures(events: Events, site: Site) -> None:
    told = [await site.signed(ASK, **{"webhook-id": f"m{number}"}) for number in range(2, 14)]
    assert [status for status, _ in told] == [401] * 10 + [429] * 2
    assert (await site.alerts(FIRING, headers={"Authorization": "Bearer wrong"}))[0] == 429, "of the same address"
    assert (await site.signed(ASK))[0] == 200, "what is right is taken all the same"
    assert len(events.runs) == 1


async def test_who_is_a_viewer_here_signs_in_vain(events: Events, site: Site) -> None:
    assert await site.signed(ASK, "vera") == (403, "vera has a role here that asks for nothing")
    assert events.runs == []


@needs_alertmanager
async def test_a_real_alertmanager_is_understood(events: Events, site: Site, tmp_path: Path) -> None:
    async with alertmanagers(tmp_path, 1) as (hook, (one,)):
        await one.post("alerts", [{"labels": FIRING["labels"], "annotations": {"summary": "it grew"}}])
        await until(lambda: hook.heard)
    status, result = await site.post("alertmanager", json.dumps(hook.heard[0]).encode(), headers=BEARER)
    assert (status, result) == (200, {"asked": 1})
    assert events.runs[0].parameters == {"relname": "docs"}
