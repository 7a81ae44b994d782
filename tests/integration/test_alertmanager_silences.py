"""Silences with real Alertmanagers: made, extended, ended, lost and found, and those that others make."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from daemon.actions.ledger import Ledger
from daemon.actions.operators import Operators
from daemon.actions.port import NotAllowedError, NotPossibleError
from daemon.actions.views import LedgerFilter
from daemon.alertmanager import Client, make_clients
from daemon.config import AlertmanagerSettings, OperatorSettings
from daemon.silences import Matcher, Muting, SilenceKeeper, Silences, UnknownSilenceError, matchers_for
from daemon.state import StateDatabase
from rules import AlertView, Labels
from tests.integration.alert_pages import SECRETS, Pushing, until_async
from tests.integration.alertmanagers import Alertmanager, Hook, alertmanagers, needs_alertmanager, until, view

pytestmark = needs_alertmanager


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


async def test_an_alertmanager_that_starts_anew_unsilences_nothing(site: Site) -> None:
    keeping, _, pair = site
    keeping.alerts = [BLOATED]
    silence = {
        "matchers": [{"name": "alertname", "value": "IndexBloated", "isRegex": False, "isEqual": True}],
        "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": "2099-01-01T00:00:00Z",
        "createdBy": "Eve",
        "comment": "by hand",
    }
    made = (await pair[0].post("silences", silence))["silenceID"]
    pushing = Pushing([one.url for one in pair])
    pushing.set(BLOATED)

    async def silenced() -> bool:
        await keeping.keeper.turn()
        return keeping.told != []

    async with pushing.running():
        await until_async(silenced)
    for one in pair:
        await one.stop()
    await asyncio.gather(*(one.start() for one in pair))
    assert [await one.get("alerts") for one in pair] == [[], []]
    await keeping.keeper.turn()
    muting = keeping.keeper.muting(dict(BLOATED.labels))
    assert keeping.told == [("IndexBloated", muting)]
    assert muting is not None
    assert (muting.silence, muting.by) == (made, "Eve")

    await keeping.clients[0].expire_silence(made)

    async def heard() -> bool:
        await keeping.keeper.turn()
        return keeping.told[1:] == [("IndexBloated", None)]

    await until_async(heard)  # they tell each other
    assert [await one.get("alerts") for one in pair] == [[], []]


async def test_ours_ends_at_once_for_an_alert_that_alertmanager_does_not_list(site: Site) -> None:
    keeping, _, _ = site
    keeping.alerts = [BLOATED]
    silence = await keeping.silences.create(matchers_for(dict(BLOATED.labels)), 7200, "Ada", via="cli")
    await keeping.keeper.turn()
    await keeping.keeper.turn()
    await keeping.silences.expire(silence.id, "Ada", via="cli")
    await keeping.keeper.turn()
    assert [muting and muting.by for _, muting in keeping.told] == ["Ada", None]


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
