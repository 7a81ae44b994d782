"""Questions that people and dashboards ask of the sample store, answered so that rules are never held up."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from heapq import merge
from itertools import chain
from operator import attrgetter
from typing import Protocol, TypeVar

from daemon.clock import monotonic
from rules import Answer, Dialect, Labels, Query, QueryError, RangeQuery, SampleStore
from rules.promql.find import find, selector
from rules.promql.pretty import pretty

PORTION_SECONDS = 0.02  # how long a question may keep the rules waiting
TIMEOUT = 30.0  # seconds
INSTANT_SECONDS = 5.0  # that an evaluation may take which cannot be interrupted
SAMPLES = 10_000_000  # that one question may look at
AT_ONCE, WAITING = 4, 64  # questions
KEPT = 64  # compiled expressions
MOST_SELECTORS = 100

_SORTED_AT_ONCE = 2000  # some 3 ms
_pairs = attrgetter("pairs")
T = TypeVar("T")
_PROMETHEUS_3 = Dialect()


class BadQueryError(QueryError):
    """An expression or selector that cannot be compiled."""


class QueryTimeoutError(QueryError):
    """It took too long, be it to wait or to evaluate."""


class QueryCanceledError(QueryError):
    """Nobody waits for the answer any more."""


class QueriesBusyError(QueryError):
    """Too many questions wait already."""


class Run(Protocol):
    """Runs work in the one thread that owns the store."""

    async def __call__(self, work: Callable[[], T]) -> T: ...


class Queries:
    """Answers from `store`, which is read inside `run` only.

    `now` gives unix seconds, `timer` seconds since some moment. A question is asked within a `turn`, which says `until`
    when, on the timer, it must be answered.
    """

    def __init__(
        self,
        store: SampleStore,
        run: Run,
        *,
        now: Callable[[], float],
        dialect: Dialect = _PROMETHEUS_3,
        timer: Callable[[], float] = monotonic,
        samples: int = SAMPLES,
    ) -> None:
        self.now = now
        self.dialect = dialect
        self._store = store
        self._run = run
        self._timer = timer
        self._samples = samples
        self._places = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._idle: OrderedDict[str, Query] = OrderedDict()  # touched inside `run` only

    @asynccontextmanager
    async def turn(self, seconds: float = TIMEOUT) -> AsyncIterator[float]:
        """Hold one of AT_ONCE places, so that only so many answers are in memory, and say until when to answer.

        No more than TIMEOUT seconds are given. Raises QueriesBusyError, QueryTimeoutError.
        """
        seconds = min(seconds, TIMEOUT)
        until = self._timer() + seconds
        if self._places.locked() and self._waiting >= WAITING:
            raise QueriesBusyError(f"{WAITING} queries wait already, try again later")
        self._waiting += 1
        try:
            async with asyncio.timeout(seconds):
                await self._places.acquire()
        except TimeoutError:
            raise QueryTimeoutError("query timed out in query queue") from None
        finally:
            self._waiting -= 1
        try:
            yield until
        finally:
            self._places.release()

    async def instant(self, text: str, at: float, until: float) -> Answer:
        """The answer at `at` (unix seconds), evaluated in one go of INSTANT_SECONDS at most. Raises QueryError."""

        def work() -> Answer:
            last = min(until, self._timer() + INSTANT_SECONDS)
            with self._in_time(last):
                query = self._take(text)
                answer = query.instant(self._store, at, samples=self._samples, timeout=last - self._timer())
            self._keep(query)
            return answer

        return await self._run(work)

    async def range(
        self,
        text: str,
        start: float,
        end: float,
        step: float,
        until: float,
        *,
        wanted: Callable[[], bool] = lambda: True,
    ) -> Answer:
        """The answers from `start` to `end` (unix seconds), `step` seconds apart, as a matrix.

        Given up once it is no longer `wanted`. Raises QueryError.
        """

        def evaluation() -> Iterator[RangeQuery | None]:
            with self._in_time(until):
                query = self._take(text)
                steps = self._over(query, start, end, step, until)
                while steps.advance(1):
                    yield None
            self._keep(query)
            yield steps

        done = await self._in_portions(evaluation(), until, wanted)
        return await asyncio.to_thread(done.answer)  # it reads no samples, and may take as long as all the steps

    async def series(self, selectors: Sequence[str], start: float, end: float, until: float) -> list[Labels]:
        """The series seen from `start` to `end` (unix seconds) that one of the selectors asks for; without any, all.

        Raises QueryError.
        """
        found = await self._gather(selectors, start, end, until, lambda series: series)
        return await asyncio.to_thread(_in_order, list(found))

    async def label_names(self, selectors: Sequence[str], start: float, end: float, until: float) -> list[str]:
        """The names of the labels that such series have. Raises QueryError."""
        found = await self._gather(selectors, start, end, until, chain.from_iterable)
        return sorted(found)

    async def label_values(
        self, name: str, selectors: Sequence[str], start: float, end: float, until: float
    ) -> list[str]:
        """The values that such series have for a label. Raises QueryError."""
        found = await self._gather(
            selectors, start, end, until, lambda series: (labels.value(name) for labels in series)
        )
        return sorted(found - {""})

    async def _gather(
        self,
        selectors: Sequence[str],
        start: float,
        end: float,
        until: float,
        part: Callable[[list[Labels]], Iterable[T]],
    ) -> set[T]:
        if len(selectors) > MOST_SELECTORS:
            raise BadQueryError(f"{len(selectors)} selectors are too many, at most {MOST_SELECTORS} are read")
        try:
            wanted = await asyncio.to_thread(lambda: [selector(text, self.dialect) for text in selectors])
        except QueryError as error:
            raise BadQueryError(error.message) from error

        def search() -> Iterator[set[T] | None]:
            found: set[T] = set()
            for labels in find(self._store, wanted, start, end) if start <= end else ():
                found.update(part(labels))
                yield None
            yield found

        return await self._in_portions(search(), until)

    async def _in_portions(
        self, steps: Iterator[T | None], until: float, wanted: Callable[[], bool] = lambda: True
    ) -> T:
        """Advance `steps`, which yield None until they yield the result, for PORTION_SECONDS at a time."""

        def portion() -> T | None:
            stop = self._timer() + PORTION_SECONDS
            while (found := next(steps)) is None and self._timer() < stop:
                pass
            return found

        while (found := await self._run(portion)) is None:
            if self._timer() > until:
                raise QueryTimeoutError("query timed out in expression evaluation")
            if not wanted():
                raise QueryCanceledError("query was canceled in expression evaluation")
        return found

    async def formatted(self, text: str) -> str:
        """The expression as Prometheus lays it out. Raises BadQueryError."""
        try:
            return await asyncio.to_thread(pretty, text, self.dialect)
        except QueryError as error:
            raise BadQueryError(error.message) from error

    @contextmanager
    def _in_time(self, until: float) -> Iterator[None]:
        try:
            yield
        except BadQueryError:
            raise
        except QueryError as error:
            if self._timer() < until:
                raise
            raise QueryTimeoutError("query timed out in expression evaluation") from error

    def _take(self, text: str) -> Query:
        """The compiled expression for nobody else's use until it is kept again: it remembers what it works on."""
        known = self._idle.pop(text, None)
        if known is not None:
            return known
        try:
            return Query.compile(text, self.dialect)
        except QueryError as error:
            raise BadQueryError(error.message) from error

    def _keep(self, query: Query) -> None:
        self._idle[query.text] = query
        if len(self._idle) > KEPT:
            self._idle.popitem(last=False)

    def _over(self, query: Query, start: float, end: float, step: float, until: float) -> RangeQuery:
        left = until - self._timer()
        try:
            return RangeQuery(query, self._store, start, end, step, samples=self._samples, timeout=left)
        except QueryError as error:  # the expression is not one for a range
            raise BadQueryError(error.message) from error


def _in_order(series: list[Labels]) -> list[Labels]:
    """Sorted by labels, a few at a time: a long sort would keep all other threads waiting."""
    parts = (series[first : first + _SORTED_AT_ONCE] for first in range(0, len(series), _SORTED_AT_ONCE))
    return list(merge(*(sorted(part, key=_pairs) for part in parts), key=_pairs))
