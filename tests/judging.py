"""A rule engine as a test needs it, and its transitions in short."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rules import Context, RuleEngine, SampleStore, Transition, parse_text


class Timer:
    """A stopwatch that stands still until it is told otherwise; seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def make_engine(
    text: str,
    file: str = "some/rules.yml",
    *,
    store: SampleStore | None = None,
    timer: Callable[[], float] | None = None,
    context: Callable[[float], Context] | None = None,
) -> tuple[SampleStore, RuleEngine]:
    store = store or SampleStore()
    return store, RuleEngine(store, parse_text(text, file), timer=timer or Timer(), context=context)


def told(transitions: Iterable[Transition]) -> list[tuple[str, str, str]]:
    """Which alert, before, after."""
    return [(one.labels["alertname"], one.before.value, one.after.value) for one in transitions]
