"""From alerts to actions: a firing alert whose label names an action asks for it, and asks again while it fires."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from daemon.actions import Request
from rules import AlertView, Labels

FIRST_WAIT, LONGEST_WAIT = 60.0, 3600.0  # seconds between two askings for the same alert
ACTION_LABEL = "action"


@dataclass(slots=True)
class _Asked:
    active_at: float
    again_at: float
    wait: float


class Dispatcher:
    """Decides when to ask; whether the action may run is the guard's business.

    It holds nothing that must outlive the process: what is firing says it all, and the request's key, made of the
    alert and of when it began, keeps a finished action from being repeated.
    """

    def __init__(self, submit: Callable[[Request], None], known_actions: Iterable[str]) -> None:
        self._submit = submit
        self._known = frozenset(known_actions)
        self._asked: dict[Labels, _Asked] = {}

    def consider(self, firing: Iterable[AlertView], now: float) -> None:
        """Ask for what the firing alerts want and was not asked for yet, or not for a while (`now` in unix seconds)."""
        wishes = {alert.labels: alert for alert in firing if alert.labels.value(ACTION_LABEL) in self._known}
        for gone in self._asked.keys() - wishes.keys():
            del self._asked[gone]
        for labels, alert in wishes.items():
            asked = self._asked.get(labels)
            if asked is None or asked.active_at != alert.active_at:
                self._asked[labels] = _Asked(alert.active_at, now + FIRST_WAIT, FIRST_WAIT)
                self._submit(request_for(alert, now))
            elif now >= asked.again_at:
                asked.wait = min(asked.wait * 2, LONGEST_WAIT)
                asked.again_at = now + asked.wait
                self._submit(request_for(alert, now))


def request_for(alert: AlertView, now: float) -> Request:
    """The request that an alert makes; the same alert, begun at the same time, always has the same key."""
    labels = dict(alert.labels)
    identity = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
    return Request(
        environment=labels.get("environment", ""),
        action=labels[ACTION_LABEL],
        key=f"alert:{identity}@{alert.active_at:.3f}",
        requested_by=f"alert {alert.name}",
        at=now,
        reason=alert.annotations.get("summary", alert.name),
        alert=labels,
    )
