"""Threads in Slack from firing to fixed, on a real engine, outbox and state database."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from typing import Any

import pytest

from actions import Verdict
from daemon.actions import Result, RunState
from daemon.slack._speaker import PROGRESS_SECONDS
from daemon.status import Board, Cell, Row, State
from fleet.policy import MaintenanceWindow
from tests.integration.engines import TestWorld, request, until
from tests.integration.scripted import Dangerous, Gate, Guarded, Scripted
from tests.integration.slack_site import CRITICAL, MakeSlack
from tests.slack_fake import FakeSlack

HOUR = 3600.0
WARNING = CRITICAL | {"severity": "warning"}
PREPROD = CRITICAL | {"environment": "preprod", "tier": "preprod"}


async def test_one_message_from_firing_to_resolved(make_slack: MakeSlack) -> None:
    site = await make_slack()
    site.change("firing")
    root = await site.root("firing")
    assert root["text"] == ":red_circle: *IndexBloat* — qa: firing"
    assert set(site.fake.buttons(root)) == {"silence", "silence_for", "details"}
    site.change("resolved")
    ended = await site.root("resolved")
    assert ended["ts"] == root["ts"]
    assert site.fake.buttons(ended) == {}
    assert ":white_check_mark: *Resolved* after" in await site.reply(root["ts"], "Resolved")
    assert site.fake.calls["chat.postMessage"] == 2


async def test_from_a_question_over_an_approval_to_the_outcome(make_slack: MakeSlack) -> None:
    gate = Gate()
    site = await make_slack(Dangerous(first=gate))
    site.change("firing", PREPROD)
    await site.root("firing")
    run = await site.daemon.ask(request(environment="preprod", action="dangerous", alert=PREPROD))
    root = await site.root("awaiting approval")
    assert await site.reply(root["ts"], "An approval is needed")
    assert "work of size 1 on preprod" in await site.reply(root["ts"], "*Plan*")
    buttons = site.fake.buttons(root)
    assert buttons["approve"]["confirm"]["title"]["text"] == "Approve?"
    assert re.fullmatch(r"[0-9a-f]{12}:\d+", buttons["approve"]["value"])
    await site.click(root, "approve")
    await gate.until_reached()
    root = await site.root("acting")
    assert "approve" not in site.fake.buttons(root)
    assert "approved by anna" in str(root)
    assert await site.reply(root["ts"], "approved by anna")
    site.world.firing = False
    gate.go.set()
    root = await site.root("fixed")
    outcome = await site.reply(root["ts"], "*Fixed*")
    assert "rows: 7 → 3" in outcome
    assert f"<https://custode.example/api/v1/ledger?run={run.id}|" in outcome
    assert [(each.person, each.facts["what"], each.facts["decision"]) for each in await site.clicks(1)] == [
        ("anna", "approve", "allowed")
    ]


async def test_progress_is_one_reply_that_is_edited(make_slack: MakeSlack) -> None:
    gate = Gate()
    site = await make_slack(Scripted(second=gate))
    site.change("firing")
    await site.root("firing")
    await site.daemon.ask(request(alert=CRITICAL))
    await gate.until_reached()
    root = await site.root("acting")
    await site.reply(root["ts"], "second: 50%, half of it")
    site.world.firing = False
    gate.go.set()
    await site.root("fixed")
    await site.reply(root["ts"], "2 of 2 steps done")
    about = [each for each in site.fake.replies(root["ts"]) if each.startswith(":hourglass")]
    assert len(about) == 1
    assert all("<@" not in each for each in about)


async def test_what_waits_for_its_window_is_seldom_looked_at(make_slack: MakeSlack, world: TestWorld) -> None:
    world.use(
        "preprod", window=MaintenanceWindow(days=("mon", "tue", "wed", "thu", "fri", "sat", "sun"), start=time(2))
    )
    site = await make_slack(Dangerous(), shift=at("12:00"))
    site.change("firing", PREPROD)
    await site.daemon.ask(request(environment="preprod", action="dangerous", alert=PREPROD))
    await site.click(await site.root("awaiting approval"), "approve")
    await site.root("acting")
    query = """
        select due_at from slack_thread
        where facts @? '$.runs.*.parked ? (@ starts with "waits for")' and shown = revision and claimed_until is null
    """

    async def seldom() -> bool:
        due = await site.daemon.sql(query)
        return [row["due_at"].timestamp() - site.world.now() > 2 * PROGRESS_SECONDS for row in due] == [True]

    await until(seldom)


async def test_what_did_not_help_says_so(make_slack: MakeSlack) -> None:
    site = await make_slack(Scripted(verdict=Verdict(False, "as big as before")))
    site.change("firing")
    await site.root("firing")
    await site.daemon.ask(request(alert=CRITICAL))
    root = await site.root("not fixed")
    assert "as big as before" in await site.reply(root["ts"], "*Not fixed*")


async def test_hostile_names_are_shown_and_never_obeyed(make_slack: MakeSlack) -> None:
    site = await make_slack()
    labels = CRITICAL | {"indexrelname": "<!channel>"}
    site.change("firing", labels, annotations={"summary": "<!channel> & <@U0ANNA> `x` <http://evil|here>"})
    root = await site.root("firing")
    await site.click(root, "details")
    details = await site.whisper("indexrelname")
    for shown in (str(root), str(details)):
        assert "&lt;!channel&gt;" in shown
        assert not re.search(r"<[!@h]", re.sub(r"<!date\^", "", shown))


async def test_back_within_an_hour_it_goes_on_in_the_same_thread_and_later_in_another(make_slack: MakeSlack) -> None:
    site = await make_slack()
    site.change("firing")
    first = await site.root("firing")
    site.change("resolved")
    await site.root("resolved")
    site.world.shift += HOUR / 2
    site.change("firing")
    again = await site.root("firing")
    assert again["ts"] == first["ts"]
    await site.reply(first["ts"], "Firing again")
    (told,) = [each for each in site.fake.messages if "Firing again" in each["text"]]
    assert told["reply_broadcast"] is True
    site.change("resolved")
    await site.root("resolved")
    site.world.shift += 2 * HOUR
    site.change("firing")
    await site.fake.until(lambda: len(site.fake.roots()) == 2)
    second = site.fake.roots()[1]
    assert f"/p{first['ts'].replace('.', '')}|the last time>" in str(second)


async def test_what_is_long_over_is_forgotten(make_slack: MakeSlack) -> None:
    site = await make_slack()
    site.change("firing")
    site.change("firing", CRITICAL | {"alertname": "Lasting"})
    site.change("resolved")
    await site.fake.until(lambda: any("resolved" in each["text"] for each in site.fake.roots()))
    await site.fake.until(lambda: len(site.fake.messages) == 3)
    site.world.shift += 31 * 24 * HOUR

    async def lasting() -> bool:
        return [row["key"] for row in await site.daemon.sql("select key from slack_thread")] == ["alert:qa:Lasting"]

    await until(lasting)


async def test_owners_are_called_once_and_production_down_goes_to_the_emergency_channel(make_slack: MakeSlack) -> None:
    owners = {"indexes": ["U0PRIMO"], "default": ["S0OPS"]}
    emergency = {"channel": "#architect-alerts", "mention": ["here"]}
    site = await make_slack(owners=owners, emergency=emergency)
    site.change("firing")
    assert (await site.root("firing"))["text"].endswith("firing <@U0PRIMO>")
    down = {"alertname": "EnvironmentDown", "environment": "prod", "tier": "production", "promise": "reachable"}
    site.change("firing", down | {"severity": "critical"})
    assert (await site.root("EnvironmentDown", "C0ALERTS"))["text"].endswith("firing <!here> <!subteam^S0OPS>")


async def test_environments_and_severities_have_channels(make_slack: MakeSlack) -> None:
    site = await make_slack(channels={"qa": "#architect-alerts"})
    site.change("firing")
    await site.root("firing", "C0ALERTS")
    site.change("firing", WARNING | {"environment": "dev"})
    await site.root("dev")


async def test_a_storm_is_one_message_and_questions_stand_out_of_it(make_slack: MakeSlack) -> None:
    site = await make_slack(Dangerous(), storm=3)
    for number in range(20):
        site.change("firing", CRITICAL | {"alertname": f"Alert{number}"})
    await site.fake.until(lambda: any("Many alerts at once*: 17" in each["text"] for each in site.fake.roots()))
    assert len(site.fake.roots()) == 4
    alert = {"alertname": "Alert19", "environment": "preprod", "severity": "critical"}
    await site.daemon.ask(request(environment="preprod", action="dangerous", alert=alert))
    await site.fake.until(lambda: any("awaiting approval" in each["text"] for each in site.fake.roots()))
    for number in range(20):
        site.change("resolved", CRITICAL | {"alertname": f"Alert{number}"})
    await site.fake.until(lambda: any("17, of which 0 still" in each["text"] for each in site.fake.roots()))
    assert len(site.fake.roots()) == 5


async def test_five_hundred_alerts_while_slack_asks_to_wait(make_slack: MakeSlack, slack: FakeSlack) -> None:
    site = await make_slack(storm=5)
    names = [f"Alert{number % 50}" for number in range(500)]
    slack.fail("chat.postMessage", status=429, retry_after=1, times=3)
    slack.fail("chat.update", status=429, retry_after=4, times=2)
    for number, name in enumerate(names):
        site.change("firing", CRITICAL | {"alertname": name, "relname": f"table{number}"})
    await slack.until(lambda: any("*: 45, of which 45" in each["text"] for each in slack.roots()))
    for number, name in enumerate(names):
        site.change("resolved", CRITICAL | {"alertname": name, "relname": f"table{number}"})
    await slack.until(lambda: any("*: 45, of which 0" in each["text"] for each in slack.roots()), 90)
    await slack.until(lambda: sum("resolved" in each["text"] for each in slack.roots()) == 5)
    assert len(slack.roots()) == 6
    assert all(len(set(told := slack.replies(each["ts"]))) == len(told) for each in slack.roots())


def at(clock: str) -> float:
    """How far to shift time until it is that of the day, in UTC."""
    now = datetime.now(UTC)
    wanted = now.replace(hour=int(clock[:2]), minute=int(clock[3:]), second=0, microsecond=0)
    return (wanted - now).total_seconds() % 86_400


async def test_quiet_hours_hold_warnings_until_the_morning_and_nothing_else(make_slack: MakeSlack) -> None:
    site = await make_slack(quiet={"begin": "22:00", "end": "07:00"}, shift=at("23:30"))
    site.change("firing", WARNING | {"alertname": "Held"})
    site.change("firing", WARNING | {"alertname": "Gone"})
    site.change("resolved", WARNING | {"alertname": "Gone"})
    site.change("firing", CRITICAL | {"alertname": "Told"})
    assert "Told" in (await site.root("firing"))["text"]
    await site.outbox.drain(15.0)  # what is taken after the night has gone is told
    site.world.shift += 8 * HOUR
    await site.fake.until(lambda: len(site.fake.roots()) == 2)
    assert "Held" in site.fake.roots()[1]["text"]


async def test_slack_that_asks_to_wait_gets_each_message_once(make_slack: MakeSlack, slack: FakeSlack) -> None:
    slack.fail("chat.postMessage", status=429, retry_after=1, times=2)
    slack.fail("chat.postMessage", status=503, times=2)
    site = await make_slack()
    site.change("firing")
    site.change("resolved")
    root = await site.root("resolved")
    await site.reply(root["ts"], "Resolved")
    assert len(slack.roots()) == 1


async def test_a_lost_answer_does_not_double_a_message(make_slack: MakeSlack, slack: FakeSlack) -> None:
    slack.fail("chat.postMessage", lose=True)
    site = await make_slack()
    site.change("firing")
    await site.fake.until(lambda: slack.calls["conversations.history"] > 0)
    slack.fail("chat.postMessage", lose=True)
    site.change("resolved")
    root = await site.root("resolved")
    await site.fake.until(lambda: slack.calls["conversations.replies"] > 0)
    await site.fake.until(lambda: site.fake.edits[root["ts"]] > 0)
    assert len(slack.roots()) == 1
    assert len(slack.replies(root["ts"])) == 1


async def test_a_daemon_that_ended_before_it_noted_a_message_does_not_double_it(
    make_slack: MakeSlack, slack: FakeSlack
) -> None:
    slack.fail("chat.postMessage", lose=True)
    site = await make_slack()
    site.change("firing")
    await slack.until(slack.roots)
    await site.stop()
    assert slack.calls["conversations.history"] == 0, "it did not come to look whether it was posted"
    after = await make_slack()
    after.change("resolved")
    await after.root("resolved")
    assert slack.calls["conversations.history"] > 0


async def test_a_slack_that_was_down_ends_in_the_right_state(make_slack: MakeSlack, slack: FakeSlack) -> None:
    await slack.stop()
    site = await make_slack()
    site.change("firing")
    site.change("resolved")
    site.change("firing", CRITICAL | {"alertname": "Other"})
    await slack.start()
    await slack.until(lambda: len(slack.roots()) == 2)
    await slack.until(lambda: {"resolved", "firing"} == {each["text"].split(": ")[-1] for each in slack.roots()})


async def test_a_message_that_is_gone_is_posted_anew(make_slack: MakeSlack, slack: FakeSlack) -> None:
    site = await make_slack()
    site.change("firing")
    await site.root("firing")
    slack.messages.clear()
    site.change("resolved")
    await site.root("resolved")


async def test_a_channel_that_is_archived_is_replaced_by_the_usual_one(make_slack: MakeSlack, slack: FakeSlack) -> None:
    slack.archived.add("C0ALERTS")
    site = await make_slack(channels={"qa": "#architect-alerts"})
    site.change("firing")
    await site.root("firing")


async def test_blocks_that_slack_refuses_leave_the_words(make_slack: MakeSlack, slack: FakeSlack) -> None:
    slack.fail("chat.postMessage", error="invalid_blocks")
    site = await make_slack()
    site.change("firing")
    assert not site.fake.buttons(await site.root("firing"))


async def test_routine_is_no_news_and_trouble_of_it_is(make_slack: MakeSlack) -> None:
    site = await make_slack(Scripted(), Guarded(verdict=Verdict(False, "no use")))
    done = await site.daemon.ask(request())
    assert (await site.daemon.until(done, RunState.ENDED)).result is Result.FIXED
    await site.daemon.ask(request("k2", action="guarded", alert=CRITICAL | {"alertname": "Other"}))
    assert "Other" in (await site.root("not fixed"))["text"]


async def test_another_daemon_goes_on_after_a_restart(make_slack: MakeSlack) -> None:
    site = await make_slack(Dangerous())
    site.change("firing", PREPROD)
    await site.daemon.ask(request(environment="preprod", action="dangerous", alert=PREPROD))
    root = await site.root("awaiting approval")
    await site.stop()
    await site.daemon.stop()
    site = await make_slack(Dangerous())
    await site.click(root, "approve", "U0ALICE")
    await site.root("not fixed")  # the alert goes on
    assert [each.person for each in await site.clicks(1)] == ["alice"]


@pytest.mark.parametrize("state", [State.KEPT, State.BROKEN])
async def test_the_promises_are_told_once_a_day(make_slack: MakeSlack, state: State) -> None:
    async def board() -> Board:
        cells = (Cell("backup", state, "2h old, due every 4h"), Cell("disk", State.NOT_PROMISED, ""))
        return Board(site_time(), (Row("qa", "qa", cells),), ())

    shift = at("08:10")

    def site_time() -> float:
        return datetime.now(UTC).timestamp() + shift

    options: dict[str, Any] = {"digest_at": "08:00", "board": board, "shift": shift}
    site = await make_slack(**options)
    root = await site.root("The promises today")
    assert ("all kept" if state is State.KEPT else "1 not kept") in root["text"]
    assert "Backup: 2h old, due every 4h" in str(root)
    assert "Disk" not in str(root)
    other = await make_slack(**options)
    other.change("firing")
    await site.fake.until(lambda: len(site.fake.roots()) == 2)
    assert sum("promises" in each["text"] for each in site.fake.roots()) == 1
