"""NOTIFY in a watched database makes collectors run at once, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import pytest

from daemon import listening
from daemon.listening import Listening
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.errors import DaemonError
from fleet.secrets import Secrets
from tests.integration.actions_kit import until

MakeEnvironment = Callable[..., Environment]
KNOWN = ("vectors", "tables", "backups")
PID = "select pid from pg_stat_activity where application_name = 'custode-listen' and datname = current_database()"


@dataclass
class Heard:
    looks: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    broken: bool = False

    async def reread(self, environment: str, collectors: Sequence[str]) -> None:
        await asyncio.sleep(0)
        self.looks.append((environment, tuple(collectors)))
        if self.broken:
            raise DaemonError("it is not watched")

    async def count(self, number: int) -> None:
        async def enough() -> bool:
            await asyncio.sleep(0)
            return len(self.looks) >= number

        await until(enough, f"{number} looks, so far {self.looks}")


@asynccontextmanager
async def ears(sql: asyncpg.Connection, *environments: Environment) -> AsyncIterator[tuple[Heard, Listening]]:
    heard, seconds = Heard(), iter(range(10**6))
    ear = Listening(Secrets(lambda: next(seconds)), KNOWN, heard.reread)
    async with asyncio.TaskGroup() as group:
        ear.start(group)
        await ear.apply({environment.name: environment for environment in environments})
        await until(lambda: listens(sql), "somebody listens")
        yield heard, ear
        await ear.stop()


async def listens(sql: asyncpg.Connection) -> bool:
    return bool(await sql.fetchval(f"select exists ({PID} and query ~* 'listen' and state = 'idle')"))


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(listening, "FIRST_RETRY", 0.05)


@pytest.mark.parametrize(
    ("statement", "collectors"),
    [
        ("notify custode", ("tables", "vectors")),
        ("notify custode, 'backups'", ("backups",)),
        ("notify custode, ' vectors,backups ,; drop table x'", ("backups", "vectors")),
    ],
    ids=["empty", "one", "several and nonsense"],
)
async def test_what_it_names_is_read_at_once_and_once_more(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, statement: str, collectors: tuple[str, ...]
) -> None:
    async with ears(sql, make_environment()) as (heard, _):
        await sql.execute(statement)
        await heard.count(2)
    assert heard.looks == [("qa", collectors)] * 2


async def test_what_it_does_not_know_is_not_heard(make_environment: MakeEnvironment, sql: asyncpg.Connection) -> None:
    async with ears(sql, make_environment()) as (heard, _):
        await sql.execute("notify custode, 'secrets'; notify other, 'vectors'; notify custode, 'backups'")
        await heard.count(2)
    assert set(heard.looks) == {("qa", ("backups",))}


async def test_a_storm_is_one_look(make_environment: MakeEnvironment, sql: asyncpg.Connection) -> None:
    async with ears(sql, make_environment()) as (heard, _):
        heard.broken = True
        for number in range(200):
            await sql.execute(f"select pg_notify('custode', '{KNOWN[number % 3]}')")
        await sql.execute("notify custode, 'backups'")

        async def calm() -> bool:
            before = len(heard.looks)
            await asyncio.sleep(0.3)
            return len(heard.looks) == before > 0

        await until(calm, "the storm is over")
    assert len(heard.looks) < 60
    assert {name for _, names in heard.looks for name in names} == set(KNOWN)


async def test_a_lost_session_is_made_again(make_environment: MakeEnvironment, sql: asyncpg.Connection) -> None:
    async with ears(sql, make_environment()) as (heard, _):
        old = await sql.fetchval(PID)
        await sql.execute("select pg_terminate_backend($1)", old)

        async def again() -> bool:
            return await listens(sql) and await sql.fetchval(PID) != old

        await until(again, "it listens again")
        await sql.execute("notify custode, 'backups'")
        await heard.count(1)


async def test_it_follows_the_configuration(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer
) -> None:
    async with ears(sql, make_environment()) as (heard, ear):
        old = await sql.fetchval(PID)
        await ear.apply({"qa": make_environment()})
        assert await sql.fetchval(PID) == old, "what did not change goes on"
        await ear.apply({"other": make_environment("other")})

        async def moved() -> bool:
            return await listens(sql) and await sql.fetchval(PID) != old

        await until(moved, "the other one listens")
        await sql.execute("notify custode")
        await heard.count(1)
        assert heard.looks[0][0] == "other"
        await ear.apply({})

        async def gone() -> bool:
            return not await listens(sql)

        await until(gone, "nobody listens any more")
