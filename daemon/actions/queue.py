"""The work of the engine on its way between processes: pgqueuer on the state database, and nothing of it above here.

One entrypoint an environment, so that work goes where the environment is looked after. A job is only a wake-up call for
a run: it may come twice, and what it means stands in `action_run`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, cast

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.actions.queue_session import ERRORS, QueueSession
from daemon.state import StateDatabase, raw
from migrations.state import QUEUE_NAMES

if TYPE_CHECKING:
    from pgqueuer.adapters.persistence.queries import Queries
    from pgqueuer.core.executors import AbstractEntrypointExecutor
    from pgqueuer.core.qm import QueueManager
    from pgqueuer.domain.models import Job
    from pgqueuer.domain.settings import DBSettings
    from pgqueuer.domain.types import QueueEntrypoint
    from pgqueuer.ports.driver import Driver

log = structlog.get_logger()

HEARTBEAT_TIMEOUT = timedelta(seconds=6)  # after it another process takes a job over
POLL = timedelta(seconds=3)  # a dead process wakes nobody
RESTART_SECONDS = 5.0
KEPT_LOG = timedelta(hours=1)  # pgqueuer's own notes, which nobody here reads
CLEAN_SECONDS = 300.0
CLEAN_ROWS = 10_000  # at once
_ENTRYPOINT = "environment:"


class Queue:
    """`take(run_id, environment)` works one turn. At most `at_once` of them in this process, two at least."""

    def __init__(self, state: StateDatabase, take: Callable[[str, str], Awaitable[None]], *, at_once: int = 20) -> None:
        self._state = state
        self._take = take
        self._at_once = max(at_once, 2)
        self._served: frozenset[QueueEntrypoint] = frozenset()
        self._taking: set[asyncio.Task[None]] = set()
        self._session: QueueSession | None = None
        self._manager: QueueManager | None = None

    async def put(self, connection: AsyncConnection, run_id: str, environment: str, *, delay: float = 0.0) -> None:
        """Ask for a turn after `delay` seconds, once the transaction of `connection` is committed."""
        from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver

        queries = _queries(AsyncpgDriver(await raw(connection)))
        await queries.enqueue(_entrypoint(environment), run_id.encode(), execute_after=timedelta(seconds=delay))

    def serve_environments(self, names: Iterable[str]) -> None:
        """From now on take the work of these only; what is running goes on."""
        self._served = frozenset(map(_entrypoint, names))
        self._register()

    async def serve(self) -> None:
        """Work until cancelled. Then the turns under way are cancelled too, and go back for another process to take."""
        task = cast("asyncio.Task[None]", asyncio.current_task())
        logging.getLogger("pgqueuer").setLevel(logging.CRITICAL)  # what matters is logged here
        while True:
            try:
                await self._state.returned()
                await self._serve(QueueSession(self._state))
            except Exception:  # the boundary of the library: whatever broke there, work goes on
                log.exception("queue_broke")
            if task.cancelling():  # what breaks while it ends hides the cancellation
                raise asyncio.CancelledError
            await asyncio.sleep(RESTART_SECONDS)

    async def _serve(self, session: QueueSession) -> None:
        from pgqueuer.core.qm import QueueManager

        queries = _queries(session)
        await _upgrade(queries)
        manager = QueueManager(queries, channel=queries.qbq.settings.channel)
        manager.entrypoint_registry = _registry(self._work)
        self._manager, self._session = manager, session
        self._register()
        try:
            async with asyncio.TaskGroup() as group:
                cleaning = group.create_task(_clean(session, queries.qbe.qualified.queue_table_log))
                running = group.create_task(
                    manager.run(
                        dequeue_timeout=POLL,
                        batch_size=min(10, self._at_once // 2),
                        max_concurrent_tasks=self._at_once,
                        heartbeat_timeout=HEARTBEAT_TIMEOUT,
                        log_aggregation_interval=timedelta(0),
                    )
                )
                try:
                    await asyncio.wait([running])
                finally:
                    cleaning.cancel()
                    manager.shutdown.set()
                    await self._give_back(session, running)
        finally:
            self._manager = self._session = None
            await session.close()

    async def _give_back(self, session: QueueSession, running: asyncio.Task[None]) -> None:
        session.end()
        given_back = [task.cancel() for task in self._taking]
        await asyncio.wait([running])
        if given_back:
            with suppress(*ERRORS):
                await session.wake_others()

    def _register(self) -> None:
        if self._manager is not None and self._session is not None:
            registry = self._manager.entrypoint_registry
            registry.clear()
            registry.update({name: registry[name] for name in self._served})
            self._session.wake()

    async def _work(self, job: Job) -> None:
        from pgqueuer.domain.errors import RetryRequested

        ending = self._session is None or self._session.shutdown.is_set()
        if ending or job.entrypoint not in self._served:  # let go of in the moment when it was picked
            raise RetryRequested
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._taking.add(task)
        try:
            await self._take((job.payload or b"").decode(), job.entrypoint.removeprefix(_ENTRYPOINT))
        except asyncio.CancelledError:
            task.uncancel()
            raise RetryRequested from None  # back into the queue
        except Exception:  # the boundary of a turn: the engine finds what was left
            log.exception("turn_broke", job=job.id)
        finally:
            self._taking.discard(task)


async def _upgrade(queries: Queries) -> None:
    """Bring the tables to what a newer pgqueuer wants than the one that made them."""
    if (await queries.plan_upgrade()).statements:
        await queries.apply_upgrade()
        log.info("queue_tables_upgraded")


async def _clean(session: QueueSession, table: str) -> None:
    """Keep pgqueuer's own notes small."""
    statement = (
        f"delete from {table} where id in"  # noqa: S608 - a name of ours
        f" (select id from {table} where created < now() - $1::interval order by created limit {CLEAN_ROWS})"
    )
    while True:
        while await session.execute(statement, KEPT_LOG) == f"DELETE {CLEAN_ROWS}":
            pass
        await asyncio.sleep(CLEAN_SECONDS)


def _entrypoint(environment: str) -> QueueEntrypoint:
    return cast("QueueEntrypoint", f"{_ENTRYPOINT}{environment}")


def _queries(driver: Driver) -> Queries:
    from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder
    from pgqueuer.adapters.persistence.queries import Queries

    names = _names()
    return Queries(driver, QueryBuilderEnvironment(names), QueryQueueBuilder(names), QuerySchedulerBuilder(names))


@cache
def _names() -> DBSettings:
    from pgqueuer.domain.settings import DBSettings

    return DBSettings.model_validate(QUEUE_NAMES)  # takes milliseconds


def _registry(work: Callable[[Job], Awaitable[None]]) -> dict[QueueEntrypoint, AbstractEntrypointExecutor]:
    """The same executor for every entrypoint: also for one that has just been let go of, whose jobs it gives back."""
    from pgqueuer.core.executors import EntrypointExecutor, EntrypointExecutorParameters

    executor = EntrypointExecutor(EntrypointExecutorParameters(concurrency_limit=0, func=work))

    class Registry(dict["QueueEntrypoint", "AbstractEntrypointExecutor"]):
        def __missing__(self, _name: object) -> EntrypointExecutor:
            return executor

    return Registry()
