"""Databases that runs left: what is dropped is the one that was found, whatever it is called."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import asyncpg
import pytest

from actions._left_overs import drop_left_over, left_over_databases
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from tests.integration.actions_kit import close, job_for

RUN = "0123456789ab"


@pytest.mark.parametrize("called", ["DROP DATABASE t", 'a "DROP DATABASE" b', "drop database; --"])
async def test_what_is_called_like_a_command_goes_and_nothing_else(
    make_environment: Callable[..., Environment], server: EmbeddedServer, sql: asyncpg.Connection, called: str
) -> None:
    async def ended(ids: Collection[str]) -> Collection[str]:
        return ids

    name = f"{called}_new_{RUN}"
    quoted = await sql.fetchval("select format('%I', $1::text)", name)
    await sql.execute(f"create database {quoted}")
    job = replace(job_for(make_environment()), ended=ended)
    try:
        await sql.execute(f"comment on database {quoted} is 'custode restore {RUN}'")
        (found,) = [one for one in await left_over_databases(job) if one.run == RUN]
        assert found.command == f"DROP DATABASE {quoted} WITH (FORCE)"
        assert (await drop_left_over(job, found.object))["dropped"] == name
        assert await left_over_databases(job) == []
        assert "skipped" in await drop_left_over(job, found.object)
    finally:
        await sql.execute(f"drop database if exists {quoted}")
        await close(job)
