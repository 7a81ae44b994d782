"""One run of one collector: the boundary at which any error of a collector becomes a fact about its run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import asyncpg

from collectors import Collector, Rows, Session, Target
from daemon.exposition import cap, series
from daemon.scrape._batch import Batch
from fleet.errors import ConnectError, CustodeError

# counting this many records takes some milliseconds; more are counted in a thread
_MANY_RECORDS = 5000
CLOSE_SECONDS = 1.0


class ObservedTarget(Target):
    """A Target that notes whether the server answered, and gives up connections whose query was abandoned."""

    reached: bool | None = None

    @asynccontextmanager
    async def session(self, database: str | None = None) -> AsyncIterator[Session]:
        async with super().session(database) as session:
            try:
                yield session
            except asyncio.CancelledError:
                # closing also ends the query in the server; behind a dead network the connection would make its next
                # user wait for an answer that never comes
                with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    await session.connection.close(timeout=CLOSE_SECONDS)
                raise
            self.reached = True


async def run_collector(
    collector: Collector, target: Target, deadline: timedelta, before: Sequence[Rows] = ()
) -> Batch:
    """Run `collector` within `deadline` and tell how it went. Raises nothing but asyncio.CancelledError.

    `before` is what the run before gave; to know it is faster, and changes nothing else.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    rows: list[Rows] = []
    dropped = 0
    error: Exception | None = None
    scope = asyncio.timeout(deadline.total_seconds())
    try:
        async with scope:
            rows = await collector.collect(target)
        rows, dropped = await _capped(rows, collector.options.max_series, before)
    except Exception as caught:  # noqa: BLE001 - the boundary of a collector: whatever it raises costs only its samples
        rows, error = [], caught
    limit = deadline if scope.expired() else None
    environment = target.environment
    return Batch(
        environment=environment.name,
        labels={"environment": environment.name, "tier": environment.tier.value, **environment.labels},
        collector=collector.name,
        started=target.now,
        duration=loop.time() - started,
        rows=tuple(rows),
        error=describe(error, limit) if error else None,
        failures={what: describe(failure) for what, failure in target.failures.items()},
        gaps=dict(target.gaps),
        series=series(rows),
        dropped=dropped,
        reached=_reached(target, error),
    )


def describe(error: Exception, deadline: timedelta | None = None) -> str:
    """An error in one line, without what it stands for in Python."""
    if deadline is not None:
        return f"not finished within {deadline.total_seconds():g} s"
    first = next(_leaves(error))
    if isinstance(first, CustodeError):
        return f"{first.message} ({first.hint})" if first.hint else first.message
    return f"{type(first).__name__}: {first}".removesuffix(": ")


async def _capped(rows: list[Rows], max_series: int, before: Sequence[Rows]) -> tuple[list[Rows], int]:
    if sum(map(len, rows)) > _MANY_RECORDS:
        return await asyncio.to_thread(cap, rows, max_series, before)
    return cap(rows, max_series, before)


def _reached(target: Target, error: Exception | None) -> bool | None:
    """A server that refuses one database of several was reached; one that could not be connected to was not."""
    if error is not None and any(isinstance(leaf, ConnectError) for leaf in _leaves(error)):
        return False
    if isinstance(target, ObservedTarget) and target.reached:
        return True
    return False if any(isinstance(failure, ConnectError) for failure in target.failures.values()) else None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors inside groups; a task group wraps what its tasks raise."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
