"""The state database goes and comes back: who notices, what is told, what goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.actions.queue import Queue
from daemon.state import StateDatabase, raw
from daemon.state.models import Switch
from fleet.embedded import EmbeddedServer
from fleet.errors import StateAwayError, StateError, StateRefusedError
from fleet.secrets import Secrets, SecretText
from tests.integration.scripted import SOON

SWITCH = {"name": "stop-actions", "on": True, "by": "Ada", "at": 1_800_000_000.0}


@asynccontextmanager
async def served(state: StateDatabase) -> AsyncIterator[StateDatabase]:
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(state.serve())
        yield state
        serving.cancel()


@pytest.fixture
async def data_dir(scratch: Path, tmp_path: Path) -> Path:
    """As the daemon makes it: closed to others."""
    path = scratch / f"data-{tmp_path.name}"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
async def embedded(data_dir: Path) -> AsyncIterator[StateDatabase]:
    """A state database without a URL, not open yet."""
    state = StateDatabase(None, data_dir, Secrets(time.monotonic))
    yield state
    await state.close()


async def until(true: Callable[[], object], seconds: float = SOON) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if true():
                return
            await asyncio.sleep(0.01)


async def within(state: StateDatabase, do: Callable[[AsyncConnection], Awaitable[None]]) -> None:
    async with state.begin() as connection:
        await do(connection)


async def one(state: StateDatabase, query: str) -> object:
    async with state.begin() as connection:
        return (await connection.execute(text(query))).scalar()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def postmaster(data_dir: Path) -> int:
    return int((data_dir / "state" / "postmaster.pid").read_text().splitlines()[0])


async def test_the_embedded_server_is_made_kept_and_stopped(embedded: StateDatabase, data_dir: Path) -> None:
    assert (await embedded.revision()).current is None
    assert not (data_dir / "state").exists()
    await embedded.open()
    async with embedded.begin() as connection:
        await connection.execute(insert(Switch).values(**SWITCH))
        session = await raw(connection)
        settings = [await session.fetchval(f"show {name}") for name in ("fsync", "max_connections", "search_path")]
    assert settings == ["on", "50", "custode"]
    # as root, the server's own user gets through, and sees nothing
    assert mode(data_dir) == (0o711 if os.geteuid() == 0 else 0o700)
    assert mode(data_dir / "state") == 0o700
    await embedded.close()
    assert not (data_dir / "state" / "postmaster.pid").exists()
    with pytest.raises(StateAwayError, match="closed"):
        await one(embedded, "select 1")
    assert (await embedded.revision()).up_to_date
    await embedded.open()
    assert await one(embedded, "select by from switch") == "Ada"


async def test_an_embedded_server_that_is_killed_comes_back_with_all_that_was_committed(
    embedded: StateDatabase, data_dir: Path
) -> None:
    taken: list[str] = []

    async def take(run_id: str, _environment: str) -> None:
        taken.append(run_id)

    queue = Queue(embedded, take)
    await embedded.open()
    async with served(embedded), asyncio.TaskGroup() as group:
        queue.serve_environments(["qa"])
        working = group.create_task(queue.serve())
        listening = await embedded.connect()
        async with embedded.begin() as connection:
            await queue.put(connection, "before", "qa")
            await queue.put(connection, "meanwhile", "qa", delay=1.0)
        await until(lambda: taken == ["before"])

        async def kill(connection: AsyncConnection) -> None:
            await connection.execute(insert(Switch).values(**SWITCH))
            os.kill(postmaster(data_dir), signal.SIGKILL)
            await until(listening.is_closed)
            await connection.execute(text("select 1"))

        with pytest.raises(StateAwayError, match="broke"):
            await within(embedded, kill)
        assert embedded.away is not None
        with pytest.raises(StateAwayError):
            await embedded.connect()
        await asyncio.wait_for(embedded.returned(), SOON)
        assert embedded.away is None
        assert await one(embedded, "select count(*) from switch") == 0
        async with embedded.begin() as connection:
            await queue.put(connection, "after", "qa")
        await until(lambda: {"meanwhile", "after"} <= set(taken))
        working.cancel()


async def test_a_second_process_in_the_directory_shares_the_server(embedded: StateDatabase, data_dir: Path) -> None:
    await embedded.open()
    program = (
        "import asyncio, sys, time, pathlib;from daemon.state import StateDatabase;from fleet.secrets import Secrets\n"
        "async def main():\n"
        "  state = StateDatabase(None, pathlib.Path(sys.argv[1]), Secrets(time.monotonic))\n"
        "  await state.open(); print(state.away); await state.close()\n"
        "asyncio.run(main())"
    )
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(data_dir), stdout=asyncio.subprocess.PIPE
    )
    told, _ = await other.communicate()
    assert told.decode().splitlines()[-1] == "None"
    assert await one(embedded, "select 1") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts the server as another user")
async def test_a_place_that_the_server_cannot_enter_is_refused_with_a_way_out(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(StateError, match=r"cannot be started: .* closed to the user") as refused:
        await StateDatabase(None, closed / "data", Secrets(time.monotonic)).open()
    assert refused.value.code == "CU610"
    assert refused.value.hint


async def test_one_that_cannot_be_reached_is_away_and_found_later(
    scratch: Path, tmp_path: Path, server: EmbeddedServer, state_url: SecretText
) -> None:
    link = scratch / f"link-{tmp_path.name}"
    url = SecretText(state_url.raw.split("?")[0] + f"?host={link}")
    state = StateDatabase(url, tmp_path, Secrets(time.monotonic))
    await state.open()
    assert "cannot be reached" in str(state.away)
    with pytest.raises(StateAwayError, match="cannot be reached") as refused:
        await one(state, "select 1")
    assert refused.value.code == "CU611"
    async with served(state):
        link.symlink_to(state_url.raw.split("host=")[1])
        await asyncio.wait_for(state.returned(), SOON)
        assert await one(state, "select 1") == 1
    await state.close()


async def test_a_url_that_is_none_is_refused_without_showing_it(tmp_path: Path) -> None:
    state = StateDatabase(SecretText("postgresql://u:s3cret@host:port/d"), tmp_path, Secrets(time.monotonic))
    with pytest.raises(StateError, match="cannot be used") as refused:
        await state.open()
    assert "s3cret" not in f"{refused.value} {refused.value.hint} {state.away}"
    await state.close()


async def test_one_broken_connection_is_an_error_of_ours_and_the_next_is_good(state: StateDatabase) -> None:
    async with served(state):
        for noticed_by_a_statement in (True, False):  # or by the commit

            async def break_it(connection: AsyncConnection, more: bool = noticed_by_a_statement) -> None:
                await connection.execute(insert(Switch).values(**SWITCH))
                pid = (await connection.execute(text("select pg_backend_pid()"))).scalar_one()
                other = await state.connect()
                await other.execute("select pg_terminate_backend($1, 5000)", pid)
                await other.close()
                if more:
                    await connection.execute(text("select 1"))

            with pytest.raises(StateAwayError, match="broke"):
                await within(state, break_it)
            assert state.away is not None
            await asyncio.wait_for(state.returned(), SOON)
            assert await one(state, "select count(*) from switch") == 0
        # those that wait in the pool, broken unseen
        other = await state.connect()
        await other.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        await other.close()
        await asyncio.sleep(0)
        await asyncio.wait_for(state.returned(), SOON)
        for _ in range(3):
            assert await one(state, "select 1") == 1


async def test_an_error_of_the_caller_s_own_passes_and_rolls_back(state: StateDatabase) -> None:
    for error in (ValueError("mine"), ConnectionResetError("of another peer"), TimeoutError()):

        async def fail(connection: AsyncConnection, error: Exception = error) -> None:
            await connection.execute(insert(Switch).values(**SWITCH))
            raise error

        with pytest.raises(type(error)):
            await within(state, fail)
    assert state.away is None
    with pytest.raises(StateRefusedError, match="refuses it: division by zero"):
        await one(state, "select 1 / 0")
    assert await one(state, "select count(*) from switch") == 0


@pytest.mark.parametrize("sqlstate", ["57014", "53100", "53200", "40P01"])
async def test_trouble_that_may_pass_is_told_as_busy(state: StateDatabase, sqlstate: str) -> None:
    with pytest.raises(StateAwayError, match="busy: trouble"):
        await one(state, f"do $$ begin raise exception 'trouble' using errcode = '{sqlstate}'; end $$")
    assert state.away is None


async def test_a_connection_that_breaks_while_it_is_cancelled_does_not_hide_that(state: StateDatabase) -> None:
    begun = asyncio.Event()

    async def wait(connection: AsyncConnection) -> None:
        session = await raw(connection)
        begun.set()
        try:
            await asyncio.sleep(SOON)
        finally:
            session.terminate()

    task = asyncio.get_running_loop().create_task(within(state, wait))
    await begun.wait()
    task.cancel()
    await asyncio.wait([task], timeout=SOON)
    assert task.cancelled()


async def test_raw_work_belongs_to_the_transaction(state: StateDatabase) -> None:
    async def fail(connection: AsyncConnection) -> None:
        session = await raw(connection)
        await session.execute("insert into switch (name, \"on\", by, at) values ('a', true, 'b', now())")
        raise ValueError("back")

    with pytest.raises(ValueError, match="back"):
        await within(state, fail)
    assert await one(state, "select count(*) from switch") == 0


async def test_a_frozen_server_is_away_and_nobody_waits_for_it(
    embedded: StateDatabase, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.state._database.PROBE_SECONDS", 0.2)
    monkeypatch.setattr("daemon.state._database.ANSWER_SECONDS", 0.5)
    await embedded.open()
    assert await one(embedded, "select 1") == 1
    async with served(embedded):
        listening = await embedded.connect()
        server = psutil.Process(postmaster(data_dir))
        processes = [server, *server.children()]
        try:
            for process in processes:
                process.suspend()
            async with asyncio.timeout(SOON):
                with pytest.raises(StateAwayError):
                    await one(embedded, "select 1")
            assert embedded.away is not None
            assert listening.is_closed()
        finally:
            for process in processes:
                process.resume()
        await asyncio.wait_for(embedded.returned(), SOON)
        assert await one(embedded, "select 1") == 1
