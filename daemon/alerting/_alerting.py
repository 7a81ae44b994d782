"""Between scraping and the rule engine: lands batches, evaluates at once and on time, remembers alerts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from types import MappingProxyType
from typing import TypeVar

import structlog

from daemon.alerting._journal import Journal
from daemon.alerting._landing import Landing
from daemon.alerting._samples import SampleCache, Samples
from daemon.alerting._shown import shown
from daemon.alerting._thread import RuleThread
from daemon.scrape import Batch
from daemon.status import Board, Fact, make_board
from rules import (
    LOOKBACK,
    AlertView,
    Context,
    Dialect,
    Group,
    GroupView,
    Labels,
    Lasting,
    Query,
    RuleEngine,
    RuleView,
    SampleStore,
    Saved,
    State,
    StoreFullError,
    Transition,
)

log = structlog.get_logger()

TICK_SECONDS = 1.0
ALIVE_SECONDS = 15.0
TURN_SECONDS = 0.02  # how long a group may keep others waiting
_UP = "custode_up"
_OWN = "custode"  # the source of the daemon's own metrics
_ACTIVE = (State.PENDING, State.FIRING)

Publish = Callable[[Transition], None]
Mirror = Callable[[Sequence[Lasting], float], None]  # what changed, and when: unix seconds
Steps = Iterator[list[Transition]]
T = TypeVar("T")


class Alerting:
    """The rules at work; which, is told by `reload`.

    `publish` hears of every transition once the journal holds it, and must not block; `own` gives the daemon's own
    samples; `metrics` are those that each collector may tell; `now` is unix seconds. All work on samples and rules is
    done in `thread`, whatever only shows is not. `mirror` is told there whatever the journal is, and must not block.
    """

    def __init__(
        self,
        *,
        publish: Publish,
        journal: Journal,
        now: Callable[[], float],
        thread: RuleThread,
        store: SampleStore,
        own: Callable[[], Samples] = list,
        dialect: Dialect | None = None,
        external_url: Callable[[], str] = lambda: "",
        metrics: Mapping[str, Iterable[str]] = MappingProxyType({}),
        mirror: Mirror = lambda _changes, _at: None,
    ) -> None:
        self._dialect = dialect or Dialect()
        self._external_url = external_url
        self._metrics = metrics
        self._store = store
        self._compile = lru_cache(maxsize=256)(lambda text: Query.compile(text, self._dialect))
        self._engine = RuleEngine(self._store, context=self._context)
        self._samples = SampleCache()
        self._own = own
        self._publish = publish
        self._journal = journal
        self._mirror = mirror
        self._now = now
        self._thread = thread
        self._landing = Landing()
        self._turn, self._evaluating = asyncio.Lock(), asyncio.Lock()
        self._rest_until = 0.0
        self._alive_at = 0.0
        self._intervals: Mapping[str, float] = {}
        self._refused: dict[str, int] = {}
        self._full: set[str] = set()  # sources whose last batch was refused
        self.journal_works = True
        self._remembers = False
        self.remembered_at = 0.0  # when the process before this one last wrote the journal, in unix seconds
        self._released: set[str] = set()

    async def restore(self) -> None:
        """Continue where the last process stopped, and remember from now on.

        Call it once the rules are loaded: alerts belong to rules.
        """
        self._remembers = True
        await self._thread(self._restore)

    def _restore(self) -> None:
        remembered = self._journal.load()
        self.remembered_at = remembered.at
        rules = {key: alerts.values() for key, alerts in remembered.rules.items()}
        self._engine.restore(rules, remembered.at, self._now())
        self._remember(self._rewrite)

    async def reload(self, groups: Sequence[Group], intervals: Mapping[str, float]) -> None:
        """Evaluate these groups from now on. `intervals` says how many seconds apart each collector's batches come."""
        self._intervals = intervals
        async with self._evaluating, self._turn:  # what is half through belongs to the rules of before
            self._tell(await self._thread(lambda: self._saved(self._engine.reload(groups))))

    def land(self, batch: Batch, *, judge: bool) -> None:
        """Take a batch, soon; to `judge` is to evaluate the rules that read it at once."""
        self._landing.put(batch, judge=judge)

    async def settle(self) -> None:
        """Until all that was handed to `land` has landed, and what it meant was told.

        What waits lands together and is judged once: a rule looks at all environments, whichever has told.
        """
        async with self._turn:
            while together := self._landing.take():
                waiting, names = iter(together), set[str]()
                while await self._done(partial(self._land_some, waiting, names), True):
                    pass
                if names:
                    await self._step_through(self._engine.on_batches(names, self._now()))

    async def _settle_in_turn(self) -> None:
        """Settle, but leave as much time to others: with very many environments it would take all there is."""
        if (begun := time.monotonic()) >= self._rest_until:
            await self.settle()
            self._rest_until = 2 * time.monotonic() - begun

    async def forget(self, environment: str) -> None:
        """An environment is guarded no longer."""
        await self._thread(partial(self._forget, environment))

    def _forget(self, environment: str) -> None:
        for source in [source for source in self._store.sources() if source.startswith(f"{environment}/")]:
            self._store.drop(source)
        self._samples.forget(environment)

    async def release(self, environment: str) -> None:
        """Another daemon looks after an environment: its batches are not taken, its alerts dropped; nobody is told."""

        def release() -> None:
            self._released.add(environment)
            self._forget(environment)
            self._saved([])
            self._engine.release(environment)
            self._saved([], mirrored=False)

        async with self._evaluating, self._turn:
            await self._thread(release)

    async def adopt(self, environment: str, saved: Saved | None = None) -> None:
        """Look after an environment (again), with the alerts that another daemon saved, where they are given."""

        def adopt() -> None:
            if environment in self._released:  # samples that another daemon shared
                self._forget(environment)
            self._released.discard(environment)
            self._engine.adopt(environment, saved)
            self._saved([])

        async with self._evaluating, self._turn:
            await self._thread(adopt)

    async def share(self, environment: str, collector: str, samples: Samples) -> None:
        """Take what another daemon says of an environment that is not ours, so that rules can compare with it.

        No samples: it says nothing any more.
        """

        def share() -> None:
            source = f"{environment}/{collector}"
            if environment in self._released and samples:
                self._store_samples(source, self._now(), samples)
            elif environment in self._released:
                self._store.drop(source)

        await self._thread(share)

    async def lasting(self, environment: str) -> list[Lasting]:
        """What must outlive the process of an environment's alerts."""

        def lasting() -> list[Lasting]:
            return [one for one in self._engine.lasting() if one.labels.value("environment") == environment]

        return await self._thread(lasting)

    async def run(self, not_ready: Callable[[], str | None]) -> None:
        """Land batches, and evaluate every group at its interval unless `not_ready`, until cancelled."""
        try:
            while True:
                self._landing.arrived.clear()
                await self._settle_in_turn()
                if not_ready() is None:
                    await self.tick()
                await asyncio.sleep(self._rest_until - time.monotonic())
                with suppress(TimeoutError):
                    async with asyncio.timeout(TICK_SECONDS):  # wait_for may lose a cancellation before Python 3.12
                        await self._landing.arrived.wait()
        finally:
            await self._thread(lambda: self._remember(self._rewrite))

    async def tick(self) -> None:
        """Evaluate the groups that are due; what lands meanwhile goes first."""
        async with self._evaluating:
            for steps in await self._done(self._due, list[Steps]()):
                await self._step_through(steps, self._settle_in_turn)

    async def _step_through(self, steps: Steps, between: Callable[[], Awaitable[None]] | None = None) -> None:
        more = True
        while more:
            transitions, more = await self._done(partial(self._advance, steps), (list[Transition](), False))
            self._tell(transitions)
            if between is not None:
                await between()

    async def _done(self, work: Callable[[], T], otherwise: T) -> T:
        """What `work` returns, done in the thread."""
        try:
            return await self._thread(work)
        except Exception:  # the boundary of all rules: no defect there may end the daemon, or keep it from scraping
            log.exception("rules_failed")
            return otherwise

    def _due(self) -> list[Steps]:
        now = self._now()
        if now - self._alive_at >= ALIVE_SECONDS or now < self._alive_at:
            self._alive_at = now
            self._store_samples(_OWN, now, self._own())
            anew = self._journal.long or not self.journal_works
            self._remember(self._rewrite if anew else lambda: self._journal.append([], now))
            self._mirror([], now)
        return self._engine.due(now)

    def _advance(self, steps: Steps) -> tuple[list[Transition], bool]:
        """Evaluate a few rules; whether there are more."""
        transitions: list[Transition] = []
        until = time.monotonic() + TURN_SECONDS
        for found in steps:
            transitions += found
            if time.monotonic() >= until:
                return self._saved(transitions), True
        return self._saved(transitions), False

    def _land_some(self, waiting: Iterator[tuple[Batch, bool]], names: set[str]) -> bool:
        """Land a few, and add the names of the metrics whose rules are to be judged; whether there are more."""
        until = time.monotonic() + TURN_SECONDS
        for batch, judge in waiting:
            told = self._land(batch)
            if judge:
                names |= told
            if time.monotonic() >= until:
                return True
        return False

    def _land(self, batch: Batch) -> set[str]:
        """The names of metrics of which it tells something."""
        if batch.environment in self._released:
            return set()
        fresh_for = max(LOOKBACK, 3 * self._intervals.get(batch.collector, 0.0))
        facts, meta = self._samples.samples(batch)
        # every collector tells whether the server is up, but it is one series
        up = [sample for sample in meta if sample[0].name == _UP]
        run = [sample for sample in meta if sample[0].name != _UP]
        base = f"{batch.environment}/"
        self._store_samples(f"{base}{_UP}", batch.started, up, fresh_for=fresh_for)
        self._store_samples(f"{base}{batch.collector}/run", batch.started, run, fresh_for=fresh_for)
        # what could not be read is not mended: its alerts do not end
        self._store_samples(
            f"{base}{batch.collector}",
            batch.started,
            facts,
            fresh_for=fresh_for,
            doubtful=None if batch.success else {"environment": batch.environment},
            tells=self._metrics.get(batch.collector, ()),
        )
        # also what it might have told and did not: where the last series of a metric is gone, its alerts end
        return {labels.name for labels, _ in (*facts, *meta)}.union(self._metrics.get(batch.collector, ()))

    def _store_samples(
        self,
        source: str,
        at: float,
        samples: Samples,
        *,
        fresh_for: float = LOOKBACK,
        doubtful: Mapping[str, str] | None = None,
        tells: Iterable[str] = (),
    ) -> None:
        try:
            self._store.land(source, at, samples, fresh_for=fresh_for, doubtful=doubtful, tells=tells)
            self._full.discard(source)
        except StoreFullError as error:
            self._refused[source] = self._refused.get(source, 0) + 1
            if source not in self._full:
                log.error("samples_refused", source=source, error=error.message, hint=error.hint)  # noqa: TRY400
            self._full.add(source)

    def _saved(self, transitions: list[Transition], *, mirrored: bool = True) -> list[Transition]:
        """The transitions, once what lasts of them is on disk."""
        unsaved = self._engine.take_unsaved()
        if unsaved:
            # what could not be written is in none of the changes to come
            whole, now = not self.journal_works, self._now()
            self._remember(self._rewrite if whole else lambda: self._journal.append(unsaved, now))
            if mirrored:
                self._mirror(unsaved, now)
        return transitions

    def _rewrite(self) -> None:
        unsaved, now = self._engine.take_unsaved(), self._now()
        self._mirror(unsaved, now)
        self._journal.rewrite(self._engine.lasting(), now)

    def _remember(self, write: Callable[[], None]) -> None:
        if not self._remembers:
            return
        try:
            write()
        except OSError as error:
            if self.journal_works:
                log.error("alerts_not_remembered", error=str(error), hint="is the disk of data_dir full?")  # noqa: TRY400
            self.journal_works = False
        else:
            self.journal_works = True

    def _tell(self, transitions: Iterable[Transition]) -> None:
        for transition in transitions:
            self._publish(transition)

    def _context(self, now: float) -> Context:
        return Context(
            now=now,
            external_url=self._external_url(),
            query=lambda text: self._compile(text).evaluate(self._store, now, timeout=1.0),
        )

    async def board(self, tiers: Mapping[str, str], *, patient: bool = True) -> Board:
        """The status table for `tiers` (environment to tier). Not `patient`, pending alerts count as firing."""
        return await self._thread(
            lambda: make_board(tiers, shown(self.alerts(), patient=patient), self._fact, self._now())
        )

    async def facts(self, expression: str) -> dict[str, Fact]:
        """The answer of an instant query by environment. Raises QueryError."""
        return await self._thread(lambda: self._fact(expression))

    def _fact(self, expression: str) -> dict[str, Fact]:
        """The answer of an instant query, one element an environment (of several, any)."""
        answer = self._compile(expression).evaluate(self._store, self._now())
        return {labels.value("environment"): Fact(value, labels) for labels, value in answer}

    def rules(self) -> list[RuleView]:
        return self._engine.rules()

    def groups(self, *, rules: bool = True) -> list[GroupView]:
        """The groups, with their rules and alerts or without."""
        return self._engine.groups(rules=rules)

    def alerts(self) -> list[AlertView]:
        """What is pending or firing."""
        return [view for view in self._engine.alerts() if view.state in _ACTIVE]

    def states(self) -> list[State]:
        """Of every alert."""
        return self._engine.states()

    def firing(self) -> list[AlertView]:
        return [view for view in self.alerts() if view.state is State.FIRING]

    def told(self) -> list[AlertView]:
        """What is firing, or was resolved within the last 15 minutes."""
        return [view for view in self._engine.alerts() if view.state in {State.FIRING, State.RESOLVED}]

    def is_active(self, labels: Mapping[str, str]) -> bool:
        """Whether the alert with these labels is pending or firing."""
        return self._engine.is_active(Labels(labels))

    @property
    def refused(self) -> Mapping[str, int]:
        """Batches that the sample store had no room for, by source."""
        return dict(self._refused)
