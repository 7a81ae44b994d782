"""Which alerts need not page yet, because the action that they asked for is at work."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from daemon.actions.events import ActionEvent, Happened
from daemon.actions.request import Result
from daemon.dispatch import wish
from rules import AlertView

ASKING_SECONDS = 3.0  # within which an alert that names an action asks for it
_WORKING = frozenset(
    {Happened.REQUESTED, Happened.PLANNED, Happened.BEGUN, Happened.TAKEN_OVER, Happened.STEP, Happened.ANSWERED}
)
_MANY, _FORGET_SECONDS = 1000, 3600.0

_Key = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Heard:
    working: bool
    at: float


class Hold:
    """`seconds` is how long an alert is held at most; 0 holds none. `actions` are those that there are.

    It knows what this process has heard: after a restart, an alert pages.
    """

    def __init__(self, seconds: Callable[[], float], actions: Callable[[], Collection[str]]) -> None:
        self._seconds = seconds
        self._actions = actions
        self._heard: dict[_Key, _Heard] = {}

    def note(self, event: ActionEvent) -> bool:
        """Something happened in a run; whether an alert asked for that run."""
        if event.run.alert is None:
            return False
        working = event.kind in _WORKING if event.result is None else event.result is Result.FIXED
        self._heard[_key(event.run.alert)] = _Heard(working, event.at)
        if len(self._heard) > _MANY:
            self._forget(event.at)
        return True

    def holds(self, alert: AlertView, now: float) -> bool:
        """Whether a firing alert need not page at `now` (unix seconds). Unknown is no."""
        begun = alert.active_at if alert.fired_at is None else alert.fired_at
        if now - begun >= self._seconds() or wish(alert) not in self._actions():
            return False
        heard = self._heard.get(_key(dict(alert.labels)))
        if heard is None or heard.at < alert.active_at:  # of an earlier occurrence
            return now - begun < ASKING_SECONDS
        return heard.working

    def _forget(self, now: float) -> None:
        """What was heard long ago is of no alert that is still held."""
        oldest = now - max(_FORGET_SECONDS, 2 * self._seconds())
        self._heard = {key: heard for key, heard in self._heard.items() if heard.at > oldest}


def _key(labels: Mapping[str, str]) -> _Key:
    return frozenset(labels.items())
