"""From alerts to actions: a firing alert whose label names an action asks for it, and asks again while it fires."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from actions import Action
from daemon.actions import Request, Source
from fleet.errors import CustodeError, StateAwayError
from rules import AlertView, Labels

log = structlog.get_logger()

FIRST_WAIT, LONGEST_WAIT = 60.0, 3600.0  # seconds between two askings for the same alert
AWAY_WAIT = 5.0  # seconds until the state database is asked again; then twice as long, up to FIRST_WAIT
ACTION_LABEL = "action"


@dataclass(slots=True)
class _Asked:
    active_at: float
    again_at: float
    wait: float = FIRST_WAIT
    refused_away: bool = False
    away_wait: float = AWAY_WAIT


class Dispatcher:
    """Decides when to ask; whether the action may run is the guard's business.

    It holds nothing that must outlive the process: what is firing says it all, and the request's key, made of the
    alert and of when it began, keeps a finished action from being repeated.
    """

    def __init__(self, submit: Callable[[Request], Awaitable[object]], actions: Mapping[str, Action[Any]]) -> None:
        self._submit = submit
        self._actions = actions
        self._asked: dict[Labels, _Asked] = {}

    async def consider(self, firing: Iterable[AlertView], now: float, away: str | None = None) -> None:
        """Ask for what the firing alerts want and was not asked for yet, or not for a while (`now` in unix seconds).

        `away` says why nothing can be asked for; then each is tried once, so that the refusal is on record.
        """
        wishes = {alert.labels: alert for alert in firing if wish(alert) in self._actions}
        for gone in self._asked.keys() - wishes.keys():
            del self._asked[gone]
        for labels, alert in wishes.items():
            asked = self._asked.get(labels)
            if asked is None or asked.active_at != alert.active_at:
                asked = self._asked[labels] = _Asked(alert.active_at, now)
            if now >= asked.again_at and not (away and asked.refused_away):
                await self._ask(asked, alert, now)

    async def _ask(self, asked: _Asked, alert: AlertView, now: float) -> None:
        asked.again_at, asked.wait = now + asked.wait, min(asked.wait * 2, LONGEST_WAIT)
        request = request_for(alert, now, self._actions)
        try:
            await self._submit(request)
        except StateAwayError as error:
            asked.again_at, asked.wait, asked.refused_away = now + asked.away_wait, FIRST_WAIT, True
            asked.away_wait = min(2 * asked.away_wait, FIRST_WAIT)  # each refusal is on record
            log.warning("action_refused", action=request.action, environment=request.environment, error=error.message)
        except CustodeError as error:
            log.warning("action_refused", action=request.action, environment=request.environment, error=error.message)
        else:
            asked.refused_away, asked.away_wait = False, AWAY_WAIT


def wish(alert: AlertView) -> str | None:
    """The action that the rule of an alert asks for; not one that the alert is about, as its sample says."""
    return alert.labels.value(ACTION_LABEL) if ACTION_LABEL in alert.sets else None


def request_for(alert: AlertView, now: float, actions: Mapping[str, Action[Any]]) -> Request:
    """The request that an alert makes; the same alert, begun at the same time, always has the same key."""
    labels = dict(alert.labels)
    identity = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
    action = labels[ACTION_LABEL]
    known = actions[action].parameters().model_fields
    return Request(
        environment=labels.get("environment", ""),
        action=action,
        key=f"alert:{identity}@{alert.active_at:.3f}",
        requested_by=f"alert {alert.name}",
        at=now,
        source=Source.ALERT,
        reason=alert.annotations.get("summary", alert.name),
        parameters={name: value for name, value in labels.items() if name in known},
        alert=labels,
    )
