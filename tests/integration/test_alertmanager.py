"""Real Alertmanagers: pages, resolves, bad alerts, one of a pair killed."""

from __future__ import annotations

import asyncio
import signal
from datetime import timedelta
from importlib import resources
from pathlib import Path

import pytest

from daemon.alertmanager import make_clients
from daemon.config import AlertmanagerSettings
from daemon.notifiers import Retryable
from tests.integration.alert_pages import SECRETS, Pushing, names, until_async
from tests.integration.alertmanagers import alertmanagers, needs_alertmanager, until

pytestmark = needs_alertmanager


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
            pushing.fire("During")
            await until(lambda: "During" in hook.told("firing"))
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


async def test_a_storm_while_one_of_a_pair_is_down_is_paged_by_the_other(tmp_path: Path) -> None:
    async with alertmanagers(tmp_path, 2) as (hook, pair):
        await pair[1].stop(signal.SIGKILL)
        pushing = Pushing([one.url for one in pair])
        async with pushing.running():
            for number in range(500):
                pushing.fire(f"A{number:03}")
                if number % 50 == 0:
                    await asyncio.sleep(0.05)
            await until(lambda: len(hook.told("firing")) >= 500)
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
