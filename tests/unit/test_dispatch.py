"""From firing alerts to requests: when to ask, when to ask again, and under which key."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from daemon.actions import Request, Source
from daemon.actions.port import NotPossibleError
from daemon.dispatch import AWAY_WAIT, FIRST_WAIT, LONGEST_WAIT, Dispatcher
from daemon.parts import make_actions
from fleet.errors import StateAwayError
from rules import AlertView, Labels, State

T0 = 1_000_000.0


ACTIONS = make_actions()


def alert(environment: str = "production", action: str = "backup", active_at: float = T0, **more: str) -> AlertView:
    labels = {"alertname": "BackupTooOld", "environment": environment, "action": action, **more}
    return AlertView(
        name="BackupTooOld",
        labels=Labels(labels),
        annotations={"summary": "26h old"},
        value=1.0,
        state=State.FIRING,
        active_at=active_at,
        fired_at=active_at,
        resolved_at=None,
        keep_firing_since=None,
        sets=frozenset({"action"}),
    )


class Requests(list[Request]):
    """What is asked, and refused while `error` is set."""

    error: Exception | None = None

    def dispatcher(self) -> Dispatcher:
        return Dispatcher(self.submit, ACTIONS)

    async def submit(self, request: Request) -> None:
        self.append(request)
        if self.error is not None:
            raise self.error


async def test_a_firing_alert_asks_once_for_its_action() -> None:
    requests = Requests()
    dispatcher = requests.dispatcher()
    for second in range(int(FIRST_WAIT)):
        await dispatcher.consider([alert()], T0 + second)
    (request,) = requests
    assert (request.environment, request.action, request.reason) == ("production", "backup", "26h old")
    assert (request.source, request.requested_by, request.at) == (Source.ALERT, "alert BackupTooOld", T0)
    assert request.alert == {"alertname": "BackupTooOld", "environment": "production", "action": "backup"}
    assert request.parameters == {}


async def test_labels_that_are_parameters_of_the_action_become_such() -> None:
    requests = Requests()
    await requests.dispatcher().consider([alert(action="analyze", relname="chunks", tier="qa")], T0)
    assert requests[0].parameters == {"relname": "chunks"}


@pytest.mark.parametrize("error", [None, NotPossibleError("no")])
async def test_it_asks_again_ever_less_often_while_it_fires(error: Exception | None) -> None:
    requests = Requests()
    requests.error = error
    dispatcher = requests.dispatcher()
    for second in range(0, 24 * 3600, 5):
        await dispatcher.consider([alert()], T0 + second)
    waits = [later.at - earlier.at for earlier, later in pairwise(requests)]
    assert waits[:3] == [60, 120, 240]
    assert waits[-1] == LONGEST_WAIT
    assert len({request.key for request in requests}) == 1


async def test_an_alert_that_comes_back_asks_under_a_new_key_at_once() -> None:
    requests = Requests()
    dispatcher = requests.dispatcher()
    await dispatcher.consider([alert()], T0)
    await dispatcher.consider([], T0 + 1)
    await dispatcher.consider([alert(active_at=T0 + 2)], T0 + 2)
    await dispatcher.consider([alert(active_at=T0 + 3)], T0 + 3)
    assert len({request.key for request in requests}) == 3


async def test_after_a_restart_it_asks_under_the_same_key() -> None:
    first, second = Requests(), Requests()
    await first.dispatcher().consider([alert()], T0)
    await second.dispatcher().consider([alert()], T0 + 500)
    assert first[0].key == second[0].key


async def test_alerts_that_differ_in_a_label_ask_under_keys_of_their_own() -> None:
    requests = Requests()
    await requests.dispatcher().consider([alert(), alert("qa"), alert(relname="a"), alert(relname="b")], T0)
    assert len({request.key for request in requests}) == 4


async def test_unknown_actions_and_none_ask_for_nothing() -> None:
    requests = Requests()
    await requests.dispatcher().consider([alert(action="make_coffee"), alert(action="")], T0)
    assert requests == []


async def test_while_the_state_database_is_away_each_is_refused_once_and_asked_soon_after() -> None:
    requests = Requests()
    dispatcher = requests.dispatcher()
    requests.error = StateAwayError("away")
    for second in range(600):
        await dispatcher.consider([alert(), alert("qa")], T0 + second, away="away")
    assert [request.environment for request in requests] == ["production", "qa"]
    requests.error = None
    await dispatcher.consider([alert(), alert("qa")], T0 + 600)
    assert len(requests) == 4
    for second in range(601, 661):
        await dispatcher.consider([alert()], T0 + second)
    assert requests[4].at - requests[2].at == FIRST_WAIT


async def test_what_is_away_without_being_known_to_be_is_tried_again_soon_and_then_less_often() -> None:
    requests = Requests()
    requests.error = StateAwayError("away")
    dispatcher = requests.dispatcher()
    for second in range(140):
        await dispatcher.consider([alert()], T0 + second)
    waits = [later.at - request.at for request, later in pairwise(requests)]
    assert waits == [AWAY_WAIT, 2 * AWAY_WAIT, 4 * AWAY_WAIT, 8 * AWAY_WAIT, FIRST_WAIT]


async def test_an_alert_about_an_action_does_not_ask_for_it() -> None:
    """As ActionLeftToPeople, whose sample says which action does not help."""
    requests = Requests()
    await requests.dispatcher().consider([replace(alert(), sets=frozenset({"severity"}))], T0)
    assert requests == []
