"""Alerts as Alertmanager takes them. It refuses a whole batch for one bad alert, so what is bad does not leave."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from rules import AlertView, Labels, State

SENT_BY = "sent_by"  # the annotation by which we know our own alerts, when somebody sends them back to us
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

Json = dict[str, object]


def page_labels(alert: AlertView, extra: Mapping[str, str]) -> dict[str, str] | None:
    """The labels that identify the alert there; None where it cannot be sent. Its own win over `extra`."""
    mine = {name: _text(value) for name, value in alert.labels.items() if _NAME.fullmatch(name) and value}
    labels = {"severity": "warning", **extra, **mine}
    return labels if labels.get("alertname") else None


def page_alert(alert: AlertView, *, extra: Mapping[str, str], url: str, now: float, lasts: float) -> Json | None:
    """The body of one alert; a firing one ends `lasts` seconds after `now`, unless it is told again before."""
    labels = page_labels(alert, extra)
    if labels is None:
        return None
    ended = alert.resolved_at if alert.state is State.RESOLVED else None
    begun = alert.active_at if alert.fired_at is None else alert.fired_at
    # one that ends before it begins is refused, and clocks are set back
    end = now + lasts if ended is None else max(ended, begun)
    return {
        "labels": labels,
        "annotations": {
            **{name: _text(value) for name, value in alert.annotations.items() if _NAME.fullmatch(name)},
            SENT_BY: "custode",
        },
        "startsAt": moment(min(begun, end)),  # without it, it begins when it ends
        "endsAt": moment(end),
        "generatorURL": url,
    }


@lru_cache(maxsize=20_000)
def fingerprint(labels: Labels) -> str:
    """16 hexadecimal digits that name an alert in addresses."""
    return hashlib.sha256(json.dumps(labels.pairs).encode()).hexdigest()[:16]


def moment(at: float) -> str:
    """Unix seconds as RFC 3339."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(value: str) -> str:
    return value.encode("utf-8", "replace").decode()
