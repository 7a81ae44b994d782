"""What a silence is, and which alerts it concerns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# what says how an alert is handled, not what it is about; it may change while it lasts
_VOLATILE = frozenset({"__name__", "severity", "action", "promise", "tier"})


@dataclass(frozen=True, slots=True)
class Matcher:
    """As Alertmanager has them: `value` in full, or not (`equal` False); anchored where it is a regular expression."""

    name: str
    value: str
    regex: bool = False
    equal: bool = True

    def json(self) -> dict[str, object]:
        return {"name": self.name, "value": self.value, "isRegex": self.regex, "isEqual": self.equal}


@dataclass(frozen=True, slots=True)
class SilenceView:
    """A silence of ours, in unix seconds. `remote`: as Alertmanager knows it; None: it is not there (yet)."""

    id: str
    matchers: tuple[Matcher, ...]
    starts_at: float
    ends_at: float
    created_by: str
    comment: str
    remote: str | None = None
    thread: str | None = None
    expired_at: float | None = None
    expired_by: str | None = None

    def active(self, now: float) -> bool:
        return self.expired_at is None and self.starts_at <= now < self.ends_at

    def silences(self, labels: Mapping[str, str]) -> bool:
        """Whether it concerns the alert with these labels. Ours have no regular expressions."""
        return all(
            not one.regex and (labels.get(one.name, "") == one.value) is one.equal for one in self.matchers
        ) and bool(self.matchers)


@dataclass(frozen=True, slots=True)
class Muting:
    """Why an alert does not page: silenced `by` somebody `until` (unix seconds), or inhibited by another alert."""

    silence: str | None = None
    by: str = ""
    comment: str = ""
    until: float | None = None
    inhibited: bool = False


def matchers_for(labels: Mapping[str, str]) -> tuple[Matcher, ...]:
    """Those that name one alert, whatever becomes of it."""
    return tuple(Matcher(name, value) for name, value in sorted(labels.items()) if value and name not in _VOLATILE)


def read_matchers(written: Iterable[Mapping[str, object]]) -> tuple[Matcher, ...]:
    return tuple(
        Matcher(str(one["name"]), str(one["value"]), bool(one.get("isRegex")), bool(one.get("isEqual", True)))
        for one in written
    )
