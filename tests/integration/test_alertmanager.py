"""Real Alertmanagers: pages, resolves, bad alerts, one of a pair killed; silences both ways."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from importlib import resources
from pathlib import Path

import pytest

from daemon.actions.ledger import Ledger
from daemon.actions.operators import Operators
from daemon.actions.port import NotAllowedError, NotPossibleError
from daemon.actions.views import LedgerFilter
from daemon.alertmanager import Client, Pusher, PushMetrics, make_clients
from daemon.config import AlertmanagerSettings, OperatorSettings
from daemon.notifiers import Retryable
from daemon.silences import Matcher, Muting, SilenceKeeper, Silences, UnknownSilenceError, matchers_for
from daemon.state import StateDatabase
from fleet.secrets import Secrets
from rules import AlertView, Labels, State
from tests.integration.alertmanagers import Alertmanager, Hook, alertmanagers, needs_alertmanager, until, view

pytestmark = needs_alertmanager
SECRETS = Secrets(time.monotonic)


class Pushing:
    """A pusher over alerts that a test changes."""

    def __init__(self, urls: Sequence[str], **options: object) -> None:
        self.alerts: dict[str, AlertView] = {}
        self.held: set[str] = set()
        self.metrics = PushMetrics()
        settings = AlertmanagerSettings.model_validate({"urls": urls, "timeout": timedelta(seconds=2), **options})
        self.pusher = Pusher(
            settings,
            make_clients(settings, SECRETS),
            self.metrics,
            alerts=lambda: list(self.alerts.values()),
            interval=lambda: 15.0,
            url=lambda alert: f"http://custode/alerts/{alert.name}",
            held=lambda alert, _now: alert.name in self.held,
            now=time.time,
        )

    def fire(self, name: str) -> None:
        self.set(view(name))

    def resolve(self, name: str) -> None:
        self.set(replace(self.alerts[name], state=State.RESOLVED, resolved_at=time.time()))

    def set(self, alert: AlertView) -> None:
        self.alerts[alert.name] = alert
        self.pusher.wake()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.pusher.run())
            try:
                yield
            finally:
                task.cancel()


async def names(one: Alertmanager, **status: str) -> list[str]:
    found = await one.get("alerts")
    return sorted(
        alert["labels"]["alertname"]
        for alert in found
        if all(alert["status"][name] == value for name, value in status.items())
    )


async def until_async(true: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not await true():  # noqa: ASYNC110 - whoever makes it true tells nobody
            await asyncio.sleep(0.05)


async def test_a_pair_notifies_once_of_what_fires_and_once_of_its_end(tmp_path: Path) -> None:
    async with alertmanagers(tmp_path, 2) as (hook, pair):
        pushing = Pushing([one.url for one in pair], labels={"cluster": "eu"})
        async with pushing.running():
            for number in range(150):  # more than two batches
                pushing.fire(f"A{number:03}")
            await until(lambda: len(hook.told("firing")) >= 150)
            for number in range(150):
                pushing.resolve(f"A{number:03}")
            await until(lambda: len(hook.told("resolved")) >= 150)
            await pushing.pusher.drain(5)
        expected = [f"A{number:03}" for number in range(150)]
        assert hook.told("firing") == expected
        assert hook.told("resolved") == expected
        alert = hook.heard[0]["alerts"][0]
        assert (alert["labels"]["cluster"], alert["labels"]["severity"]) == ("eu", "warning")
        assert alert["generatorURL"] == f"http://custode/alerts/{alert['labels']['alertname']}"
        for one in pair:
            assert pushing.metrics.of[one.url].sent >= 300
            assert pushing.metrics.of[one.url].errors == 0


async def test_one_of_a_pair_is_killed_and_returns_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    async with alertmanagers(tmp_path, 2) as (hook, pair):
        pushing = Pushing([one.url for one in pair], resend=timedelta(seconds=1))
        pushing.held = {"Nobody"}
        pushing.fire("Nobody")  # so that it looks every second
        async with pushing.running():
            pushing.fire("Before")
            await until(lambda: hook.told("firing") == ["Before"])

            async def both_know() -> bool:
                return await pair[0].told_by_its_peer() + await pair[1].told_by_its_peer() >= 1

            await until_async(both_know)  # what it told nobody of, the other would tell again
            await pair[0].stop(signal.SIGKILL)
            begun = time.monotonic()
            pushing.fire("During")
            await until(lambda: "During" in hook.told("firing"), 10)
            assert time.monotonic() - begun < 10
            pushing.resolve("Before")
            await until(lambda: hook.told("resolved") == ["Before"])
            assert pushing.metrics.of[pair[0].url].up is False
            await pair[0].start()

            async def knows() -> bool:
                return await names(pair[0]) == ["During"]

            await until_async(knows)  # it is told again what it has forgotten
            pushing.fire("After")
            await until(lambda: "After" in hook.told("firing"))
            pushing.resolve("During")
            pushing.resolve("After")
            await until(lambda: len(hook.told("resolved")) >= 3)
        assert hook.told("firing") == ["After", "Before", "During"]
        assert hook.told("resolved") == ["After", "Before", "During"]


async def test_a_storm_while_one_of_a_pair_is_down_is_paged_by_the_other_within_ten_seconds(tmp_path: Path) -> None:
    async with alertmanagers(tmp_path, 2) as (hook, pair):
        await pair[1].stop(signal.SIGKILL)
        pushing = Pushing([one.url for one in pair])
        async with pushing.running():
            begun = time.monotonic()
            for number in range(500):
                pushing.fire(f"A{number:03}")
                if number % 50 == 0:
                    await asyncio.sleep(0.05)
            await until(lambda: len(hook.told("firing")) >= 500, 10)
            assert time.monotonic() - begun < 10
        assert hook.told("firing") == [f"A{number:03}" for number in range(500)]
        assert pushing.metrics.of[pair[0].url].sent == 500


async def test_one_bad_alert_does_not_cost_the_others(tmp_path: Path) -> None:
    async with alertmanagers(tmp_path, 1) as (_, (one,)):
        pushing = Pushing([one.url])
        for number in range(10):
            pushing.fire(f"Good{number}")
        pushing.fire("Bad")
        pushing.pusher._url = lambda alert: "://" if alert.name == "Bad" else "http://custode/"
        async with pushing.running():

            async def knows() -> bool:
                return len(await names(one)) == 10

            await until_async(knows)
            await pushing.pusher.drain(5)
        assert pushing.metrics.of[one.url].dropped == 1
        assert pushing.metrics.of[one.url].sent >= 10


async def test_what_is_held_pages_only_when_it_is_let_go(tmp_path: Path) -> None:
    async with alertmanagers(tmp_path, 1) as (hook, (one,)):
        pushing = Pushing([one.url])
        pushing.held = {"Healed", "Failed"}
        async with pushing.running():
            for name in ("Healed", "Failed", "Other"):
                pushing.fire(name)
            await until(lambda: hook.told("firing") == ["Other"])
            assert pushing.metrics.held == 2
            pushing.held.remove("Failed")
            pushing.pusher.wake()
            await until(lambda: hook.told("firing") == ["Failed", "Other"])
            pushing.resolve("Healed")
            pushing.resolve("Other")
            await until(lambda: hook.told("resolved") == ["Other"])
        assert hook.told("firing") == ["Failed", "Other"]


async def test_what_is_refused_or_away_waits_and_the_oldest_make_room(tmp_path: Path) -> None:
    pushing = Pushing(["http://127.0.0.1:9"], capacity=3)
    for number in range(5):
        pushing.fire(f"A{number}")
    async with pushing.running():
        await until(lambda: pushing.metrics.of["http://127.0.0.1:9"].errors)
    told = pushing.metrics.of["http://127.0.0.1:9"]
    assert (told.waiting, told.dropped, told.up, told.sent) == (3, 2, False, 0)


class Keeping:
    """Silences, and who keeps them, over alerts that a test changes."""

    def __init__(self, state: StateDatabase, folder: Path, urls: Sequence[str]) -> None:
        settings = AlertmanagerSettings.model_validate({"urls": urls, "timeout": timedelta(seconds=2)})
        self.ledger = Ledger(state, folder, time.time)
        self.operators = Operators({"Ada": OperatorSettings(), "Bob": OperatorSettings(environments=("qa",))}, "root")
        self.silences = Silences(state, self.ledger, lambda: self.operators, now=time.time)
        self.clients: list[Client] = make_clients(settings, SECRETS)
        self.alerts: list[AlertView] = []
        self.told: list[tuple[str, Muting | None]] = []
        self.keeper = SilenceKeeper(
            self.silences,
            self.clients,
            alerts=lambda: self.alerts,
            extra={},
            now=time.time,
            muted=lambda alert, _before, muting: self.told.append((alert.name, muting)),
        )

    async def close(self) -> None:
        for client in self.clients:
            await client.close()


@pytest.fixture
async def site(state: StateDatabase, tmp_path: Path) -> AsyncIterator[tuple[Keeping, Hook, list[Alertmanager]]]:
    async with alertmanagers(tmp_path, 2) as (hook, pair):
        keeping = Keeping(state, tmp_path, [one.url for one in pair])
        yield keeping, hook, pair
        await keeping.close()


Site = tuple[Keeping, Hook, list[Alertmanager]]
BLOATED = view("IndexBloated", labels={"severity": "warning", "index": 'o"r\\ders'})


async def lasting(one: Alertmanager) -> list[dict[str, object]]:
    return [silence for silence in await one.get("silences") if silence["status"]["state"] != "expired"]


async def test_a_silence_is_made_extended_and_ended_in_alertmanager(site: Site) -> None:
    keeping, _, pair = site
    silence = await keeping.silences.create(
        matchers_for(dict(BLOATED.labels)), 7200, "Ada", via="slack", comment="known", thread="t1"
    )
    assert keeping.keeper._wake.is_set()
    await keeping.keeper.turn()
    await keeping.keeper.turn()
    (there,) = await lasting(pair[0])
    assert there["id"] == (await keeping.silences.get(silence.id)).remote
    assert there["createdBy"] == "Ada"
    assert str(there["comment"]).startswith("known [custode ")
    assert {one["name"] for one in there["matchers"]} == {"alertname", "environment", "index"}  # type: ignore[attr-defined]

    await keeping.silences.extend(silence.id, 86_400, "Bob", via="cli")
    await keeping.keeper.turn()
    await keeping.keeper.turn()
    (there,) = await lasting(pair[0])
    assert str(there["endsAt"])[:10] == time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86_400))
    assert there["id"] == (await keeping.silences.get(silence.id)).remote

    ended = await keeping.silences.expire(silence.id, "Ada", via="http")
    assert (ended.expired_by, ended.active(time.time())) == ("Ada", False)
    await keeping.keeper.turn()
    assert await lasting(pair[0]) == []
    with pytest.raises(NotPossibleError, match="has ended"):
        await keeping.silences.extend(silence.id, 3600, "Ada", via="cli")
    told = [entry.facts["what"] for entry in await keeping.ledger.entries(LedgerFilter(entry="silence"))]
    assert told == ["expire", "extend", "create"]


async def test_a_silence_that_alertmanager_lost_is_made_again_once(site: Site) -> None:
    keeping, _, pair = site
    silence = await keeping.silences.create(matchers_for(dict(BLOATED.labels)), 7200, "Ada", via="cli")
    await keeping.keeper.turn()
    for one in pair:
        await one.stop(signal.SIGKILL)
    await keeping.keeper.turn()
    assert (await keeping.silences.get(silence.id)).active(time.time())
    await asyncio.gather(*(one.start() for one in pair))
    assert await lasting(pair[0]) == []
    other = SilenceKeeper(
        keeping.silences, keeping.clients, alerts=list, extra={}, now=time.time
    )  # a second daemon at the same time
    await asyncio.gather(keeping.keeper.turn(), other.turn())
    await keeping.keeper.turn()
    (there,) = await lasting(pair[0])
    assert there["id"] == (await keeping.silences.get(silence.id)).remote


async def test_a_silence_whose_answer_was_lost_is_found_again(site: Site, state: StateDatabase) -> None:
    keeping, _, pair = site
    silence = await keeping.silences.create(matchers_for(dict(BLOATED.labels)), 7200, "Ada", via="cli")
    await keeping.keeper.turn()
    made = await keeping.silences.get(silence.id)
    assert await keeping.silences.note_remote(made, None)
    await keeping.keeper.turn()
    (there,) = await lasting(pair[0])
    assert (await keeping.silences.get(silence.id)).remote == there["id"] == made.remote


async def test_who_ends_it_in_alertmanager_means_it(site: Site) -> None:
    keeping, _, pair = site
    silence = await keeping.silences.create(matchers_for(dict(BLOATED.labels)), 7200, "Ada", via="cli")
    await keeping.keeper.turn()
    remote = (await keeping.silences.get(silence.id)).remote
    assert remote is not None

    async def ended() -> bool:
        return await keeping.clients[1].expire_silence(remote or "")

    await until_async(ended)  # they tell each other

    async def seen() -> bool:
        await keeping.keeper.turn()
        return (await keeping.silences.get(silence.id)).expired_at is not None

    await until_async(seen)
    await keeping.keeper.turn()
    assert await lasting(pair[0]) == []


async def test_what_others_silence_or_inhibit_is_told_and_when_it_ends(site: Site) -> None:
    keeping, hook, pair = site
    pushing = Pushing([one.url for one in pair])
    down, bloated = view("ServerDown", labels={"severity": "critical"}), BLOATED
    keeping.alerts = [down, bloated]
    async with pushing.running():
        pushing.set(down)
        await until(lambda: hook.told("firing") == ["ServerDown"])
        pushing.set(bloated)

        async def inhibited() -> bool:
            await keeping.keeper.turn()
            return keeping.told == [("IndexBloated", Muting(inhibited=True))]

        await until_async(inhibited)
        assert keeping.keeper.muting(dict(bloated.labels)) == Muting(inhibited=True)
        silence = {
            "matchers": [{"name": "alertname", "value": "Server.*", "isRegex": True, "isEqual": True}],
            "startsAt": "2026-01-01T00:00:00Z",
            "endsAt": "2099-01-01T00:00:00Z",
            "createdBy": "Eve",
            "comment": "by hand",
        }
        made = (await pair[1].post("silences", silence))["silenceID"]

        async def silenced() -> bool:
            await keeping.keeper.turn()
            return len(keeping.told) > 1

        await until_async(silenced)
        name, muting = keeping.told[1]
        assert name == "ServerDown"
        assert muting is not None
        assert (muting.silence, muting.by, muting.comment) == (made, "Eve", "by hand")
        await keeping.clients[0].expire_silence(made)

        async def heard() -> bool:
            await keeping.keeper.turn()
            return keeping.told[-1] == ("ServerDown", None)

        await until_async(heard)
    assert hook.told("firing") == ["ServerDown"]


async def test_who_may_not_is_refused_on_record(state: StateDatabase, tmp_path: Path) -> None:
    keeping = Keeping(state, tmp_path, [])
    production = [Matcher("environment", "production")]
    with pytest.raises(NotAllowedError, match="only for the environments qa, not for production"):
        await keeping.silences.create(production, 3600, "Bob", via="slack")
    with pytest.raises(NotAllowedError, match="the whole fleet"):
        await keeping.silences.create([Matcher("alertname", "A")], 3600, "Bob", via="slack")
    with pytest.raises(NotAllowedError, match="no operator"):
        await keeping.silences.create(production, 3600, "Eve", via="slack")
    silence = await keeping.silences.create(production, 3600, "Ada", via="slack")
    with pytest.raises(NotAllowedError):
        await keeping.silences.expire(silence.id, "Bob", via="slack")
    entries = await keeping.ledger.entries(LedgerFilter(entry="silence"))
    assert [entry.facts.get("decision") for entry in entries] == ["refused", None, "refused", "refused", "refused"]
    for matchers, seconds in (([], 3600), ([Matcher("a", "")], 3600), (production, 10), (production, 1e9)):
        with pytest.raises(NotPossibleError):
            await keeping.silences.create(matchers, seconds, "Ada", via="slack")
    with pytest.raises(UnknownSilenceError):
        await keeping.silences.expire("none", "Ada", via="slack")


async def test_without_an_alertmanager_ours_mute_all_the_same(state: StateDatabase, tmp_path: Path) -> None:
    keeping = Keeping(state, tmp_path, [])
    keeping.alerts = [BLOATED, view("Other")]
    silence = await keeping.silences.create(matchers_for(dict(BLOATED.labels)), 3600, "Ada", via="cli", comment="c")
    await keeping.keeper.turn()
    assert keeping.told == [("IndexBloated", Muting(silence.id, "Ada", "c", silence.ends_at))]
    louder = Labels({**dict(BLOATED.labels), "severity": "critical"})
    assert keeping.keeper.muting(dict(louder)) is not None
    await keeping.silences.expire(silence.id, "Ada", via="cli")
    await keeping.keeper.turn()
    assert keeping.told[-1] == ("IndexBloated", None)


async def test_a_client_says_what_went_wrong_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AM_TOKEN", "hunter2")
    settings = AlertmanagerSettings.model_validate({"urls": ["http://127.0.0.1:9"], "token": "env:AM_TOKEN"})
    (client,) = make_clients(settings, SECRETS)
    with pytest.raises(Retryable, match=r"http://127\.0\.0\.1:9 does not answer") as raised:
        await client.alerts()
    assert "hunter2" not in str(raised.value) + repr(settings)
    await client.close()


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("alertname=Watchdog severity=none", "dead-mans-switch"),
        ("alertname=EnvironmentDown severity=critical tier=production", "pager"),
        ("alertname=NobodyCanBePaged severity=critical", "pager"),
        ("alertname=EnvironmentDown severity=critical tier=qa", "nobody"),
        ("alertname=IndexBloated severity=warning tier=production", "nobody"),
        ("alertname=BackupDue severity=info tier=production", "nobody"),
    ],
)
async def test_the_sample_configuration_is_one_and_pages_whom_it_should(labels: str, receiver: str) -> None:
    with resources.as_file(resources.files("dashboards") / "alertmanager.yml") as path:
        for words in (
            ["check-config", str(path)],
            ["config", "routes", "test", f"--config.file={path}", *labels.split()],
        ):
            process = await asyncio.create_subprocess_exec("amtool", *words, stdout=asyncio.subprocess.PIPE)
            said, _ = await process.communicate()
            assert process.returncode == 0, said
    assert said.decode().strip() == receiver
