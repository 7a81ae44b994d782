"""From firing alerts to requests: when to ask, when to ask again, and under which key."""

from itertools import pairwise

from daemon.actions import Request
from daemon.dispatch import FIRST_WAIT, LONGEST_WAIT, Dispatcher
from rules import AlertView, Labels, State

T0 = 1_000_000.0


def alert(environment: str = "production", action: str = "backup", active_at: float = T0) -> AlertView:
    labels = {"alertname": "BackupTooOld", "environment": environment, "action": action}
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
    )


class Requests(list[Request]):
    def dispatcher(self) -> Dispatcher:
        return Dispatcher(self.append, ["backup"])


def test_a_firing_alert_asks_once_for_its_action() -> None:
    requests = Requests()
    dispatcher = requests.dispatcher()
    for second in range(int(FIRST_WAIT)):
        dispatcher.consider([alert()], T0 + second)
    (request,) = requests
    assert (request.environment, request.action, request.reason) == ("production", "backup", "26h old")
    assert request.alert is not None
    assert request.alert["alertname"] == "BackupTooOld"


def test_it_asks_again_ever_less_often_while_it_fires() -> None:
    requests = Requests()
    dispatcher = requests.dispatcher()
    for second in range(24 * 3600):
        dispatcher.consider([alert()], T0 + second)
    waits = [later.at - earlier.at for earlier, later in pairwise(requests)]
    assert waits[:3] == [60, 120, 240]
    assert waits[-1] == LONGEST_WAIT
    assert len({request.key for request in requests}) == 1


def test_an_alert_that_comes_back_asks_under_a_new_key() -> None:
    requests = Requests()
    dispatcher = requests.dispatcher()
    dispatcher.consider([alert()], T0)
    dispatcher.consider([], T0 + 1)
    dispatcher.consider([alert(active_at=T0 + 2)], T0 + 2)
    assert len({request.key for request in requests}) == 2


def test_after_a_restart_it_asks_under_the_same_key() -> None:
    first, second = Requests(), Requests()
    first.dispatcher().consider([alert()], T0)
    second.dispatcher().consider([alert()], T0 + 500)
    assert first[0].key == second[0].key


def test_unknown_actions_and_none_ask_for_nothing() -> None:
    requests = Requests()
    requests.dispatcher().consider([alert(action="make_coffee"), alert(action="")], T0)
    assert requests == []
