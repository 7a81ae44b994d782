"""State databases for tests: copies of a migrated one, made in milliseconds."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from daemon.state import StateDatabase
from fleet.embedded import EmbeddedServer
from fleet.secrets import Secrets, SecretText

StateOpener = Callable[[], Awaitable[StateDatabase]]


@pytest.fixture(scope="session")
def state_template(server: EmbeddedServer, scratch: Path) -> str:
    """The name of a database that is migrated, to make others from."""
    name = f"t_template_{uuid.uuid4().hex[:12]}"

    async def make() -> None:
        admin = await asyncpg.connect(server.dsn())
        await admin.execute(f"create database {name}")
        await admin.close()
        state = StateDatabase(SecretText(server.dsn(name)), scratch, Secrets(time.monotonic))
        await state.open()
        assert state.away is None
        await state.close()

    asyncio.run(make())
    return name


@pytest.fixture
async def state_url(server: EmbeddedServer, state_template: str) -> AsyncIterator[SecretText]:
    """A migrated state database that nobody has open."""
    name = f"t_state_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(server.dsn())
    await admin.execute(f"create database {name} template {state_template}")
    yield SecretText(server.dsn(name))
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()


@pytest.fixture
async def open_state(state_url: SecretText, scratch: Path) -> AsyncIterator[StateOpener]:
    """Open the state database of the test, as one more daemon would; nobody serves it unless the test does."""
    opened: list[StateDatabase] = []

    async def open_one() -> StateDatabase:
        state = StateDatabase(state_url, scratch, Secrets(time.monotonic))
        opened.append(state)
        await state.open()
        assert state.away is None
        return state

    yield open_one
    for state in opened:
        await state.close()


@pytest.fixture
async def state(open_state: StateOpener) -> StateDatabase:
    """A state database with all its tables, and nothing in them."""
    return await open_state()
