"""The queue's contract, on a real PostgreSQL: what is put is taken, by one, in its time, whatever ends meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta

import asyncpg
import pytest
from structlog.testing import capture_logs

from daemon.actions.queue import CLEAN_SECONDS, KEPT_LOG, Queue
from daemon.actions.queue_session import QueueSession
from daemon.state import StateDatabase, raw
from tests.integration.states import StateOpener

SOON = 60.0  # seconds until something has happened for certain


class Worker:
    """A queue that is served, and what it took; a turn lasts until `go` is set."""

    def __init__(self, state: StateDatabase, *environments: str, at_once: int = 20) -> None:
        self.state = state
        self.taken: list[tuple[str, float]] = []
        self.done: list[str] = []
        self.go = asyncio.Event()
        self.go.set()
        self.queue = Queue(state, self._take, at_once=at_once)
        self.queue.serve_environments(environments)

    async def _take(self, run_id: str, _environment: str) -> None:
        self.taken.append((run_id, time.monotonic()))
        await self.go.wait()
        self.done.append(run_id)
        if run_id == "breaks":
            raise RuntimeError("broken on purpose")

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.taken]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Worker]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.queue.serve()), group.create_task(self.state.serve())]
            yield self
            for task in tasks:
                task.cancel()


async def until(true: Callable[[], bool | Awaitable[bool]], seconds: float = SOON) -> None:
    async with asyncio.timeout(seconds):
        while True:
            found = true()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)


@pytest.fixture
def hardly_polls(monkeypatch: pytest.MonkeyPatch) -> float:
    """What is taken within these seconds was not found by looking from time to time."""
    monkeypatch.setattr("daemon.actions.queue.POLL", timedelta(minutes=2))
    return SOON


async def put(state: StateDatabase, *names: str, environment: str = "qa", delay: float = 0.0) -> None:
    queue = Queue(state, _nothing)
    async with state.begin() as connection:
        for name in names:
            await queue.put(connection, name, environment, delay=delay)


async def _nothing(_run_id: str, _environment: str) -> None:
    return


async def count(state: StateDatabase, table: str = "pgqueuer") -> int:
    async with state.begin() as connection:
        return int(await (await raw(connection)).fetchval(f"select count(*) from {table}") or 0)  # noqa: S608


async def counted(state: StateDatabase, jobs: int) -> bool:
    return await count(state) == jobs


async def empty(state: StateDatabase) -> bool:
    return await counted(state, 0)


async def test_what_is_put_is_taken_in_order_and_only_when_it_is_committed(state: StateDatabase) -> None:
    worker = Worker(state, "qa", at_once=2)
    with suppress(LookupError):
        async with state.begin() as connection:
            await worker.queue.put(connection, "rolled back", "qa")
            raise LookupError
    await put(state, *"abcdef")
    async with worker.serving():
        await until(lambda: len(worker.done) == 6)
        async with state.begin() as connection:
            await worker.queue.put(connection, "open", "qa")
            await put(state, "after")
            await until(lambda: "after" in worker.done)
            assert "open" not in worker.names
        await until(lambda: "open" in worker.done)
        await until(lambda: empty(state))
    assert worker.names == [*"abcdef", "after", "open"]


async def test_a_turn_that_breaks_is_done_and_the_others_go_on(state: StateDatabase) -> None:
    await put(state, "breaks", "a")
    async with Worker(state, "qa").serving() as worker:
        await until(lambda: empty(state))
        assert sorted(worker.done) == ["a", "breaks"]


async def test_a_delay_is_waited_for(state: StateDatabase, hardly_polls: float) -> None:
    async with Worker(state, "qa").serving() as worker:
        await put(state, "first")
        await until(lambda: worker.names == ["first"])
        begun = time.monotonic()
        await put(state, "late", delay=1.5)
        await put(state, "now")
        await until(lambda: len(worker.taken) == 3)
    assert worker.names == ["first", "now", "late"]
    assert 1.5 <= worker.taken[2][1] - begun < hardly_polls


async def test_environments_come_and_go_while_it_works(state: StateDatabase, hardly_polls: float) -> None:
    await put(state, "p", environment="prod")
    async with Worker(state).serving() as worker:
        await put(state, "q", environment="qa")
        worker.queue.serve_environments(["qa"])
        await until(lambda: worker.done == ["q"], hardly_polls)
        worker.queue.serve_environments(["prod"])
        await until(lambda: worker.done == ["q", "p"], hardly_polls)
        await put(state, "left", environment="qa")
        await put(state, "taken", environment="prod")
        await until(lambda: worker.done == ["q", "p", "taken"])
        await until(lambda: counted(state, 1))
        assert "left" not in worker.names
        worker.queue.serve_environments(["qa", "prod"])
        await until(lambda: worker.done[-1] == "left", hardly_polls)


async def test_two_share_the_work_and_double_none(state: StateDatabase, open_state: StateOpener) -> None:
    names = [f"run {number}" for number in range(200)]
    await put(state, *names)
    one, two = Worker(state, "qa", at_once=4), Worker(await open_state(), "qa", at_once=4)
    async with one.serving(), two.serving():
        await until(lambda: empty(state), 60)
    assert Counter(one.names + two.names) == Counter(names)
    assert min(len(one.names), len(two.names)) > 20


async def test_what_a_cancelled_one_worked_on_is_taken_over_at_once(
    state: StateDatabase, open_state: StateOpener, hardly_polls: float
) -> None:
    one, two = Worker(state, "qa"), Worker(await open_state(), "qa")
    one.go.clear()
    async with AsyncExitStack() as ending:
        await ending.enter_async_context(one.serving())
        await put(state, *"ab")
        await until(lambda: len(one.taken) == 2)
        async with two.serving():
            await ending.aclose()
            await until(lambda: sorted(two.done) == ["a", "b"], hardly_polls)
            await until(lambda: empty(state))
    assert one.done == []


async def test_what_a_dead_one_worked_on_is_taken_over_when_its_heart_stops(state: StateDatabase) -> None:
    await put(state, *"ab")
    begun = time.monotonic()
    async with state.begin() as connection:
        await (await raw(connection)).execute(
            "update pgqueuer set status = 'picked', queue_manager_id = gen_random_uuid(),"
            " heartbeat = now() - case payload when 'a' then interval '7 seconds' else interval '2 seconds' end"
        )
    async with Worker(state, "qa").serving() as worker:
        await until(lambda: worker.names == ["a", "b"])
        assert worker.taken[1][1] - begun > 3.9, "the heart of this one beat until then"
        await until(lambda: empty(state))


@pytest.mark.parametrize("broken", ["one", "all"])
async def test_a_broken_session_is_replaced_while_the_turn_goes_on(state: StateDatabase, broken: str) -> None:
    async with Worker(state, "qa").serving() as worker:
        worker.go.clear()
        await put(state, "long")
        await until(lambda: worker.names == ["long"])
        async with state.begin() as connection:
            await (await raw(connection)).execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and"
                " datname = current_database() and application_name = 'custode-state' and ($1 or query ilike '%listen%'"
                " or query ilike '%pgqueuer%')".replace("$1", str(broken == "all"))
            )
        await until(lambda: state.away is None)
        await put(state, "after")
        await until(lambda: "after" in worker.names)
        worker.go.set()
        await until(lambda: empty(state))
    assert sorted(worker.done) == ["after", "long"]


async def test_what_breaks_while_it_ends_does_not_keep_it_from_ending(
    state: StateDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr("pgqueuer.core.buffers.TimedOverflowBuffer.__aexit__", broken)
    worker = Worker(state, "qa")
    worker.go.clear()
    await put(state, "long")
    serving = asyncio.get_running_loop().create_task(worker.queue.serve())
    await until(lambda: worker.names == ["long"])
    with capture_logs() as logs:
        serving.cancel()
        await asyncio.wait([serving], timeout=SOON)
    assert serving.cancelled()
    assert [each["event"] for each in logs] == ["queue_broke"]


async def test_a_session_that_is_lost_and_not_seen_to_be_closed_is_replaced(
    state: StateDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = QueueSession(state)
    assert await session.fetch("select 1 as one") == [{"one": 1}]
    opened = session._session
    assert opened is not None

    fetch = asyncpg.Connection.fetch

    async def lost(one: asyncpg.Connection, query: str) -> object:
        if one is opened:  # as asyncpg has it between the server's last word and the end of the socket
            raise asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress")
        return await fetch(one, query)

    monkeypatch.setattr(asyncpg.Connection, "fetch", lost)
    assert await session.fetch("select 2 as two") == [{"two": 2}]
    assert opened.is_closed()
    await session.close()


async def test_a_thousand_are_drained(state: StateDatabase) -> None:
    names = [f"run {number}" for number in range(1000)]
    await put(state, *names)
    async with Worker(state, "qa").serving() as worker:
        await until(lambda: len(worker.done) == 1000, 60)
        await until(lambda: empty(state))
    assert sorted(worker.names) == sorted(names)


async def test_its_notes_do_not_grow(state: StateDatabase) -> None:
    await put(state, "old")
    async with state.begin() as connection:
        session = await raw(connection)
        await session.execute("update pgqueuer_log set created = now() - $1::interval - interval '1 minute'", KEPT_LOG)
    assert await count(state, "pgqueuer_log") == 1
    await put(state, "new")
    async with Worker(state, "qa").serving() as worker:
        await until(lambda: sorted(worker.done) == ["new", "old"])

        await until(lambda: empty(state))
        async with state.begin() as connection:
            rows = await (await raw(connection)).fetch(
                "select created > now() - $1::interval from pgqueuer_log", KEPT_LOG
            )
    assert rows
    assert all(row[0] for row in rows)
    assert await count(state, "pgqueuer_statistics") == 0
    assert KEPT_LOG.total_seconds() > CLEAN_SECONDS


async def test_names_of_pgqueuer_s_own_are_not_read_from_the_environment(
    state: StateDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CHANNEL", "PGQUEUER_CHANNEL", "FUNCTION", "QUEUE_TABLE", "PGQUEUER_PREFIX", "PGQUEUER_SCHEMA"):
        monkeypatch.setenv(name, "elsewhere")
    await put(state, "a")
    assert await count(state) == 1
