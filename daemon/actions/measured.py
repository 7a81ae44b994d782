# mypy: allow-untyped-calls
# prometheus-client publishes types, but not for every function
"""What actions have measured, as metrics: of each index the figures of the last run that had them.

They are read from the runs when an environment becomes ours, and renewed when a run ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import ARRAY, Text, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from actions import Action, Measure
from daemon.actions.events import ActionEvent
from daemon.state import StateDatabase
from fleet.errors import StateError

READ_SECONDS = 5.0
LABELS = ("datname", "schemaname", "relname", "indexrelname")
_LATEST = text("""
    select distinct on (environment, action, object, plan -> 'objects' -> 0) environment, action,
        plan -> 'objects' -> 0 as object, after, extract(epoch from ended_at)::float8 as ended_at
    from action_run
    where state = 'ended' and environment = any(:environments) and action = any(:actions)
        and jsonb_exists_any(after, :figures) and jsonb_typeof(plan -> 'objects' -> 0) = 'object'
    order by environment, action, object, plan -> 'objects' -> 0, ended_at desc
""").bindparams(*(bindparam(name, type_=ARRAY(Text())) for name in ("environments", "actions", "figures")))
_Place = tuple[str, str, tuple[str, ...]]  # environment, action, values of LABELS


@dataclass(frozen=True, slots=True)
class _Found:
    at: float
    figures: Mapping[str, Any]


class Measured(Collector):
    """A prometheus-client collector over the last figures of the environments that are ours."""

    def __init__(self, actions: Mapping[str, type[Action[Any]]]) -> None:
        self._measures = {name: kind.measures for name, kind in actions.items() if kind.measures}
        self._found: dict[_Place, _Found] = {}
        self._read: frozenset[str] = frozenset()  # environments whose runs are known

    def note(self, event: ActionEvent) -> None:
        """A run has gone on; where it has ended here, its figures count from now on."""
        run = event.run
        if event.result is not None and run.plan is not None and run.plan.objects and run.ended_at is not None:
            self._take(run.environment, run.action, run.plan.objects[0], run.after or {}, run.ended_at)

    async def serve(self, state: StateDatabase, environments: Callable[[], Collection[str]]) -> None:
        """Follow which environments are ours, until cancelled."""
        while True:
            with suppress(StateError):
                await self.follow(state, environments())
            await asyncio.sleep(READ_SECONDS)

    async def follow(self, state: StateDatabase, environments: Collection[str]) -> None:
        """Read what is known of environments that are new, and forget those that are not ours any more.

        Raises:
            StateError: the state database cannot be used; what is new is read the next time.
        """
        wanted = frozenset(environments)
        self._read &= wanted
        self._found = {place: found for place, found in self._found.items() if place[0] in wanted}
        if fresh := wanted - self._read:
            async with state.begin() as connection:
                await self._load(connection, fresh)
            self._read |= fresh

    async def _load(self, connection: AsyncConnection, environments: Collection[str]) -> None:
        figures = {measure.figure for measures in self._measures.values() for measure in measures}
        wanted = {"environments": environments, "actions": self._measures, "figures": figures}
        rows = await connection.execute(_LATEST, {name: sorted(values) for name, values in wanted.items()})
        for row in rows:
            self._take(row.environment, row.action, row.object, row.after, row.ended_at)

    def _take(
        self, environment: str, action: str, one: Mapping[str, Any], figures: Mapping[str, Any], at: float
    ) -> None:
        known = {measure.figure for measure in self._measures.get(action, ())}
        kept = {name: value for name, value in figures.items() if name in known and isinstance(value, int | float)}
        place = (environment, action, tuple(str(one.get(label, "")) for label in LABELS))
        earlier = self._found.get(place)
        if kept and (earlier is None or earlier.at <= at):
            self._found[place] = _Found(at, kept)

    def collect(self) -> Iterator[Metric]:
        for action, measures in self._measures.items():
            found = [(place, one) for place, one in self._found.items() if place[1] == action]
            for measure in measures:
                yield _family(f"custode_{measure.metric}", measure.help, _values(found, measure))
            name, text_ = (
                f"custode_{action}_measured_timestamp_seconds",
                f"When {action} last measured it, unix seconds.",
            )
            yield _family(name, text_, [(place, one.at) for place, one in found])


def _values(found: list[tuple[_Place, _Found]], measure: Measure) -> list[tuple[_Place, float]]:
    return [(place, float(one.figures[measure.figure])) for place, one in found if measure.figure in one.figures]


def _family(name: str, help_: str, values: list[tuple[_Place, float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_, labels=["environment", *LABELS])
    for (environment, _, labels), value in values:
        family.add_metric([environment, *labels], value)
    return family
