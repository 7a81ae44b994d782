"""Clicks in Slack: who may, what counts, what an attacker tries; each one is on record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from daemon.actions import RunState
from daemon.actions.views import LedgerFilter
from daemon.slack._http import PATH
from daemon.slack.store import Row
from daemon.slack.thread import Facts
from daemon.web import _actions_input
from tests.integration.engines import Outage, request, until
from tests.integration.scripted import Dangerous, Destructive, Gate, Scripted
from tests.integration.slack_site import CRITICAL, MakeSlack, SlackSite
from tests.slack_fake import FakeSlack, signed

PREPROD = CRITICAL | {"environment": "preprod", "tier": "preprod"}


async def asking(make_slack: MakeSlack, action: str = "dangerous", **options: Any) -> tuple[SlackSite, dict[str, Any]]:
    """A site and the message of a run that waits for people."""
    site = await make_slack(Dangerous(), Destructive(), **options)
    site.change("firing", PREPROD)
    await site.daemon.ask(request(environment="preprod", action=action, alert=PREPROD))
    root = await site.root("awaiting approval")
    await site.reply(root["ts"], "An approval is needed")
    return site, root


async def test_two_people_at_once_are_one_winner_and_one_polite_answer(make_slack: MakeSlack) -> None:
    site, root = await asking(make_slack)
    root = dict(root)
    await asyncio.gather(site.click(root, "approve", "U0ANNA"), site.click(root, "approve", "U0ALICE"))
    found = await site.clicks(2)
    assert sorted(each.facts["decision"] for each in found) == ["allowed", "refused"]
    loser = next(each for each in found if each.facts["decision"] == "refused")
    told = await site.whisper("")
    assert told["user"] == loser.facts["user"]
    answers = await site.daemon.people.entries(LedgerFilter(entry="answer"))
    assert [each.facts["decision"] for each in answers].count("counted") == 1


async def test_two_approvals_are_two_people_s(make_slack: MakeSlack) -> None:
    site, root = await asking(make_slack, "destructive")
    await site.click(root, "approve", "U0ANNA")
    await site.fake.until(lambda: "approved by anna" in str(site.fake.roots()))
    await site.click(root, "approve", "U0ANNA")
    await site.whisper("anna has answered before")
    await site.click(root, "approve", "U0DORA")  # one of the group
    await site.clicks(3)
    assert [each.person for each in await site.clicks(3)] == ["anna", "anna", "dba"]
    (run,) = [each async for each in _runs(site)]
    assert run.state in {RunState.QUEUED, RunState.RUNNING, RunState.ENDED}


async def test_an_approval_that_a_rejection_overtakes_leaves_no_button(
    make_slack: MakeSlack, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, root = await asking(make_slack, "destructive")
    threads, people = site.slack.threads, site.daemon.people
    change = threads.change

    async def late(thread: str, how: Callable[[Facts], Facts]) -> Row | None:
        """Anna's answer counts; before it is noted here, Alice rejects, and the news of that is received."""
        (run,) = [each async for each in _runs(site)]
        await people.answer(run.id, "alice", approved=False, via="cli")
        await site.root("firing")
        return await change(thread, how)

    monkeypatch.setattr(threads, "change", late)
    await site.click(root, "approve", "U0ANNA")
    await site.clicks(1)  # and with it the answer is noted
    row = await threads.load(root["metadata"]["event_payload"]["id"])
    assert row is not None
    assert [run.state for run in row.facts.runs.values()] == [RunState.ENDED]
    assert "approve" not in site.fake.buttons(await site.root("firing"))


async def _runs(site: SlackSite) -> AsyncIterator[Any]:
    async with site.daemon.state.begin() as connection:
        found = await connection.exec_driver_sql("select id from action_run")
        ids = [row[0] for row in found]
    for run_id in ids:
        yield (await site.daemon.people.run(run_id)).run


async def test_a_rejection_asks_why_and_says_it(make_slack: MakeSlack) -> None:
    site, root = await asking(make_slack)
    await site.click(root, "reject")
    await site.fake.until(lambda: bool(site.fake.views))
    await site.fake.send(site.fake.submission(site.fake.views[0], "U0ANNA", "not on a <Friday>"))
    await site.reply(root["ts"], "rejected by anna: not on a &lt;Friday&gt;")
    (run,) = [each async for each in _runs(site)]
    assert run.outcome == "rejected by anna: not on a <Friday>"
    assert [each.facts["what"] for each in await site.clicks(2)] == ["reject", "rejected"]


async def test_the_suggested_action_runs_once_and_shows_in_the_thread(make_slack: MakeSlack) -> None:
    gate = Gate()
    site = await make_slack(Scripted(first=gate))
    site.change("firing", CRITICAL | {"action": "scripted", "size": "3"})
    root = dict(await site.root("firing"))
    assert site.fake.buttons(root)["run"]["text"]["text"] == "Run scripted"
    await asyncio.gather(site.click(root, "run", "U0ANNA"), site.click(root, "run", "U0ALICE"))
    await gate.until_reached()
    root = await site.root("acting")
    (run,) = [each async for each in _runs(site)]
    assert run.parameters == {"size": "3"}
    assert run.requested_by in {"anna", "alice"}
    assert sorted(each.facts["decision"] for each in await site.clicks(2)) == ["allowed", "refused"]
    await site.click(root, "cancel", "U0ANNA")
    await site.reply(root["ts"], "*Cancelled*")


async def test_silences_from_a_button_from_the_menu_and_their_end(make_slack: MakeSlack) -> None:
    site = await make_slack()
    site.change("firing")
    root = await site.root("firing")
    await site.click(root, "silence_for", option="Silence 8h")
    root = await site.root("silenced")
    await site.reply(root["ts"], "Silenced until")
    async with site.daemon.state.begin() as connection:
        rows = await connection.exec_driver_sql("select created_by, matchers, ends_at - starts_at from silence")
        by, matchers, lasts = tuple(rows.one())
    assert (by, lasts.total_seconds()) == ("anna", 8 * 3600)
    assert {(one["name"], one["value"]) for one in matchers} == {("alertname", "IndexBloat"), ("environment", "qa")}
    assert set(site.fake.buttons(root)) == {"unsilence", "details"}
    await site.click(root, "unsilence")
    await site.root("firing")
    await site.reply(root["ts"], "The silence is over")


async def test_details_are_for_whoever_asks_alone(make_slack: MakeSlack) -> None:
    site, root = await asking(make_slack)
    await site.click(root, "details", "U0NOBODY")
    told = await site.whisper("select 1")
    assert told["user"] == "U0NOBODY"
    assert "rows: 7" in str(told["blocks"])
    assert [(each.person, each.facts["decision"]) for each in await site.clicks(1)] == [("slack:U0NOBODY", "allowed")]


FOREIGN: Mapping[str, Mapping[str, Any]] = {
    "another workspace": {"team": {"id": "T0EVIL"}},
    "another app": {"api_app_id": "A0EVIL"},
}


@pytest.mark.parametrize("case", FOREIGN)
async def test_foreign_clicks_do_nothing(make_slack: MakeSlack, case: str) -> None:
    site, root = await asking(make_slack)
    await site.click(root, "approve", **FOREIGN[case])
    (click,) = await site.clicks(1)
    assert (click.facts["decision"], click.facts["because"]) == ("refused", "a click from another workspace or app")
    assert site.fake.whispers == []
    await _still_waits(site)


async def _still_waits(site: SlackSite) -> None:
    (run,) = [each async for each in _runs(site)]
    assert run.state is RunState.WAITING


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("U0MALLORY", "no operator here"),
        ("U0BRUNO", "only for the environments qa, not for preprod"),
        ("U0FAY", "only for the risks read, safe, not for dangerous"),
    ],
)
async def test_whoever_may_not_is_told_and_nothing_happens(make_slack: MakeSlack, user: str, said: str) -> None:
    site, root = await asking(make_slack)
    await site.click(root, "approve", user)
    assert (await site.whisper(said))["user"] == user
    (click,) = await site.clicks(1)
    assert click.facts["decision"] == "refused"
    await _still_waits(site)


@pytest.mark.parametrize(
    "odd", [{"is_bot": True}, {"deleted": True}, {"is_restricted": True}, {"is_email_confirmed": False}]
)
async def test_an_address_counts_only_for_a_full_member(
    make_slack: MakeSlack, slack: FakeSlack, odd: dict[str, bool]
) -> None:
    slack.users["U0ALICE"] = odd
    site, root = await asking(make_slack)
    await site.click(root, "approve", "U0ALICE")
    await site.whisper("no operator here")
    await _still_waits(site)


async def test_slack_that_does_not_say_who_it_is_allows_nothing(make_slack: MakeSlack, slack: FakeSlack) -> None:
    site, root = await asking(make_slack)
    slack.fail("users.info", error="missing_scope", times=9)
    await site.click(root, "approve", "U0ALICE")
    await site.whisper("does not say who you are")
    await _still_waits(site)


async def test_an_old_button_says_what_has_become_of_it(make_slack: MakeSlack) -> None:
    site, root = await asking(make_slack)
    old = site.fake.payload(root, "approve", "U0ANNA")
    await site.click(root, "reject")
    await site.fake.until(lambda: bool(site.fake.views))
    await site.fake.send(site.fake.submission(site.fake.views[0], "U0ANNA", ""))
    await site.root("firing")
    await site.fake.send(old)
    await site.whisper("This has changed meanwhile")


@pytest.mark.parametrize(
    "value", ["000000000000:1", "x:1", "0' or 1=1:1", "", None, 7, "000000000000:1:2h", "000000000000:٣", "a" * 5000]
)
async def test_tampered_values_run_nothing(make_slack: MakeSlack, value: object) -> None:
    site, root = await asking(make_slack)
    payload = site.fake.payload(root, "approve", "U0ANNA")
    payload["actions"][0]["value"] = value
    await site.fake.send(payload)
    await until(lambda: sum(site.metrics._clicks.values()) == 1)
    assert not any(decision == "allowed" for _, decision in site.metrics._clicks)
    await _still_waits(site)


async def test_a_button_counts_in_its_own_message_only(make_slack: MakeSlack) -> None:
    site, root = await asking(make_slack)
    site.change("firing", CRITICAL | {"alertname": "Other"})
    await site.fake.until(lambda: len(site.fake.roots()) == 2)
    other = site.fake.roots()[1]
    container = {"type": "message", "message_ts": other["ts"], "channel_id": other["channel"]}
    await site.click(root, "approve", container=container)
    await site.whisper("belongs to another message")
    await _still_waits(site)


@pytest.mark.parametrize("payload", [{}, [], "x", {"type": "block_actions"}, {"type": "block_actions", "actions": [3]}])
async def test_malformed_payloads_do_not_end_the_socket(make_slack: MakeSlack, payload: Any) -> None:
    site, root = await asking(make_slack)
    await site.slack._handler.handle(payload)
    await site.click(root, "approve")
    await site.root("fixed" if not site.world.firing else "not fixed")


async def test_a_state_database_that_is_away_is_said_and_nothing_is_done(make_slack: MakeSlack, outage: Outage) -> None:
    site, root = await asking(make_slack)
    root = dict(root)
    async with outage():
        await until(lambda: site.daemon.state.away is not None)
        await site.click(root, "approve")
        await site.whisper("The state database is away")
    await until(lambda: site.daemon.state.away is None)
    await site.click(root, "approve")
    await site.root("not fixed")  # the engine's queue takes its time to come back


async def test_the_socket_comes_back_after_slack_was_gone(make_slack: MakeSlack, slack: FakeSlack) -> None:
    site, root = await asking(make_slack)
    await slack.stop()
    await until(lambda: not site.metrics.connected)
    await slack.start()
    await site.click(root, "approve")
    await site.root("not fixed")
    assert site.metrics.connected


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def over_http(site: SlackSite) -> tuple[str, web.AppRunner]:
    application = web.Application()
    site.slack.register(application)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}{PATH}", runner


async def test_a_body_that_does_not_come_is_not_waited_for(
    make_slack: MakeSlack, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_actions_input, "READ_SECONDS", 0.2)
    site, _ = await asking(make_slack, app_token=None, signing_secret="env:T_SIGN")  # noqa: S106 - a reference
    url, runner = await over_http(site)
    answered = asyncio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        yield b"payload="
        await answered.wait()

    try:
        async with http.post(url, data=stalls()) as answer:
            assert answer.status == 408
    finally:
        answered.set()
        await runner.cleanup()


async def test_clicks_over_http_count_once_signed_and_fresh(make_slack: MakeSlack, http: aiohttp.ClientSession) -> None:
    site, root = await asking(make_slack, app_token=None, signing_secret="env:T_SIGN")  # noqa: S106 - a reference
    url, runner = await over_http(site)
    try:
        now = int(site.world.now())
        payload = site.fake.payload(root, "approve", "U0ANNA")
        body, headers = signed(payload, now)
        wrong = {
            "forged": headers | {"X-Slack-Signature": "v0=" + "0" * 64},
            "not ASCII": headers | {"X-Slack-Signature": "v0=é"},
            "not a number": headers | {"X-Slack-Request-Timestamp": "soon"},
            "unsigned": {"Content-Type": headers["Content-Type"]},
            "old": signed(payload, now - 301)[1],
            "of another secret": signed(payload, now, "other")[1],
        }
        for case, sent in wrong.items():
            async with http.post(url, data=body, headers=sent) as answer:
                assert answer.status == 401, case
        async with http.post(url, data=b"payload=\xff", headers=headers) as answer:
            assert answer.status == 401
        async with http.post(url, data=body, headers=headers) as answer:
            assert answer.status == 200
        async with http.post(url, data=body, headers=headers) as answer:
            assert answer.status == 401  # again
        empty, its = signed([], now)
        async with http.post(url, data=empty, headers=its) as answer:
            assert answer.status == 200
        async with http.post(url, data=b"x" * 600_000, headers=headers) as answer:
            assert answer.status == 413
        await site.root("not fixed")
        assert [each.facts["decision"] for each in await site.clicks(1)] == ["allowed"]
    finally:
        await runner.cleanup()
