"""What rules compare across environments: whoever looks after one publishes it, the others land it as samples.

Alerts about an environment are judged only where it is looked after; but the schema of each is compared with that of
the reference, and this daemon may not be the one that reads it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from sqlalchemy import text

from daemon.alerting._samples import SampleCache, Samples
from daemon.scrape import Batch
from daemon.state import StateDatabase
from fleet.errors import StateError
from rules import Group, Labels

log = structlog.get_logger()

REFERENCE = "custode_policy_schema_reference"
READ_SECONDS = 15.0
REPEAT_SECONDS = 120.0  # what did not change is said again, so that others know that it still holds
STALE_SECONDS = 600.0
_SLOWEST = 5.0
_FAILURES = (StateError, TimeoutError)

_PUBLISH = text("""
    insert into shared_samples (environment, collector, samples, at)
    select environment, collector, cast(samples as jsonb), now()
    from unnest(cast(:environments as text[]), cast(:collectors as text[]), cast(:samples as text[]))
        as new (environment, collector, samples)
    join lease using (environment)
    where holder = :member
    order by environment, collector
    on conflict (environment, collector) do update set samples = excluded.samples, at = excluded.at
""")
_READ = text(f"""
    select environment, collector, cast(samples as text) as samples from shared_samples
    where environment = any(cast(:environments as text[])) and at > now() - interval '{STALE_SECONDS} seconds'
""")  # noqa: S608 - a constant

_Source = tuple[str, str]  # environment, collector


class Lander(Protocol):
    """Where samples land: `Alerting`."""

    async def share(self, environment: str, collector: str, samples: Samples) -> None: ...


@dataclass(slots=True)
class _Said:
    samples: str  # JSON
    at: float
    written: bool = False


@dataclass(slots=True)
class _Heard:
    """What others said, as JSON and as samples, and when it was read."""

    sources: dict[_Source, tuple[str, Samples]] = field(default_factory=dict)
    at: float = 0.0


def compared_metrics(groups: Iterable[Group]) -> frozenset[str]:
    """The metrics that rules compare with those of the reference environment; they name its mark."""
    queries = (rule.query.names or () for group in groups for rule in group.rules)
    return frozenset(name for names in queries if REFERENCE in names for name in names)


class SharedSamples:
    """`metrics` says which metrics of an environment others need, `elsewhere` are those that others look after.

    `member` is the id of our membership, `now` gives unix seconds.
    """

    def __init__(
        self,
        state: StateDatabase,
        lander: Lander,
        *,
        member: str,
        metrics: Callable[[str], Collection[str]],
        elsewhere: Callable[[], Collection[str]],
        now: Callable[[], float],
    ) -> None:
        self._state = state
        self._lander = lander
        self._member = member
        self._metrics = metrics
        self._elsewhere = elsewhere
        self._now = now
        self._said: dict[_Source, _Said] = {}
        self._heard = _Heard()

    def offer(self, batch: Batch) -> None:
        """A batch of ours has landed. One that could not be read in full says nothing new."""
        wanted = self._metrics(batch.environment)
        told = (metric.name for rows in batch.rows for metric in rows.family.metrics)
        if not batch.success or not any(name in wanted for name in told):
            return
        facts, _ = SampleCache().samples(batch)
        samples = json.dumps([[labels.pairs, value] for labels, value in facts if labels.name in wanted])
        source = (batch.environment, batch.collector)
        known = self._said.get(source)
        if known is None or known.samples != samples or self._now() - known.at >= REPEAT_SECONDS:
            self._said[source] = _Said(samples, self._now())

    async def serve(self) -> None:
        """Publish and land, until cancelled."""
        while True:
            await self.exchange()
            await asyncio.sleep(READ_SECONDS)

    async def exchange(self) -> None:
        """Publish what is new, land what others have said. While the database is away, what was heard holds on."""
        with suppress(*_FAILURES):
            await self._publish()
        elsewhere = self._elsewhere()
        before = self._heard.sources
        try:
            if elsewhere:
                await self._read(elsewhere)
            else:
                self._heard = _Heard(at=self._now())
        except _FAILURES:
            kept = self._now() - self._heard.at < STALE_SECONDS
            known = self._heard.sources.items() if kept else ()
            self._heard.sources = {source: heard for source, heard in known if source[0] in elsewhere}
        for source in before.keys() - self._heard.sources.keys():
            await self._lander.share(*source, [])
        for source, (_, samples) in self._heard.sources.items():
            await self._lander.share(*source, samples)

    async def _publish(self) -> None:
        elsewhere = self._elsewhere()
        self._said = {source: said for source, said in self._said.items() if source[0] not in elsewhere}
        new = {source: said for source, said in self._said.items() if not said.written}
        if not new:
            return
        lists = {
            "environments": [environment for environment, _ in new],
            "collectors": [collector for _, collector in new],
            "samples": [said.samples for said in new.values()],
        }
        async with asyncio.timeout(_SLOWEST), self._state.begin() as connection:
            await connection.execute(_PUBLISH, {**lists, "member": self._member})
        for said in new.values():
            said.written = True

    async def _read(self, elsewhere: Collection[str]) -> None:
        async with asyncio.timeout(_SLOWEST), self._state.begin() as connection:
            rows = (await connection.execute(_READ, {"environments": sorted(elsewhere)})).all()
        heard = _Heard(at=self._now())
        for row in rows:
            source = (row.environment, row.collector)
            known = self._heard.sources.get(source)
            same = known is not None and known[0] == row.samples
            heard.sources[source] = known if known is not None and same else (row.samples, _samples(row.samples))
        self._heard = heard


def _samples(written: str) -> Samples:
    return [(Labels(dict(pairs)), float(value)) for pairs, value in json.loads(written)]
