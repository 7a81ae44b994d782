"""kill -9 in the middle of a restore: whoever goes on finds what is done, does the rest, and nothing twice."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from actions import Action
from actions.recover import Recover
from actions.restore import Restore
from daemon.actions.takeover import end_sessions
from fleet.embedded import EmbeddedServer
from fleet.stores.local import LocalStore
from tests.integration.restores import MakeSite, databases, run_steps, take

RUN = "0123456789ab"
BEGAN = 1_796_000_000.0
# runs the steps of an action, and dies at the n-th call of a function: before it, or after it
SCRIPT = """
    import asyncio, importlib, json, os, signal, sys
    from fleet.environment import Environment
    from fleet.stores.local import LocalStore
    from tests.integration.actions_kit import job_for
    from tests.integration.restores import run_steps

    module, name, call, when, action, dsn, store, parameters, run, began = sys.argv[1:]
    place, calls = importlib.import_module(module), 0
    original = getattr(place, name)

    async def deadly(*arguments, **named):
        global calls
        calls += 1
        if calls == int(call) and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = await original(*arguments, **named)
        if calls == int(call):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    async def main():
        actions = importlib.import_module(f"actions.{action}")
        action_ = getattr(actions, action.title())()
        environment = Environment(name="qa", tier="qa", dsn=dsn, tls={"mode": "disable"})
        stores = {"local": LocalStore(LocalStore.Options(path=store))}
        job = job_for(environment, stores=stores, run_id=run, started_at=float(began))
        asked = action_.parameters().model_validate_json(parameters)
        plan = await action_.plan(job, asked)
        setattr(place, name, deadly)
        await run_steps(action_, job, asked, plan)

    asyncio.run(main())
"""


async def killed(
    server: EmbeddedServer,
    database: str,
    store: LocalStore,
    action: Action[Any],
    where: tuple[str, str, int, str],
    *,
    parameters: Mapping[str, object],
) -> None:
    module, name, call, when = where
    arguments = [module, name, str(call), when, action.name, server.dsn(database), str(store._root)]
    arguments += [json.dumps(parameters), RUN, str(BEGAN)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(SCRIPT), *arguments, cwd=Path(__file__).parents[2]
    )
    assert await process.wait() == -signal.SIGKILL, "it was to be killed there"


RESTORE_POINTS = [
    ("actions._restore_place", "_comment", 1, "before"),
    ("actions._restore_place", "_comment", 1, "after"),
    ("actions._restore_load", "feed", 1, "after"),
    ("actions._restore_load", "note", 1, "before"),
    ("actions._restore_load", "note", 1, "after"),
    ("actions._restore_indexes", "note", 3, "before"),
    ("actions._restore_indexes", "build_entry", 5, "after"),
    ("actions._restore_indexes", "_build_vector", 2, "before"),
    ("actions._restoration", "check", 1, "after"),
]


@pytest.mark.parametrize("where", RESTORE_POINTS, ids=lambda where: " ".join(map(str, where[1:])))
async def test_a_restore_goes_on(
    restoring: MakeSite,
    content: str,
    server: EmbeddedServer,
    store: LocalStore,
    sql: asyncpg.Connection,
    *,
    where: tuple[str, str, int, str],
) -> None:
    await take(restoring(), content)
    action, into = Restore(), f"{content}_x"
    asked = {"database": content, "into": into}
    parameters = action.parameters().model_validate(asked)
    plan = await action.plan(restoring(), parameters)
    await killed(server, content, store, action, where, parameters=asked)
    job = restoring(run_id=RUN, attempt=2, started_at=BEGAN)
    await end_sessions(job)
    await run_steps(action, job, parameters, plan)
    verdict = await action.verify(job, parameters, plan)
    assert verdict.fixed, verdict.reason
    assert await databases(sql, content) == [content, into]
    assert await databases(sql, "custode_new_") == []


@pytest.mark.parametrize("where", RESTORE_POINTS[:6], ids=lambda where: " ".join(map(str, where[1:])))
async def test_a_restore_is_taken_back(
    restoring: MakeSite,
    content: str,
    server: EmbeddedServer,
    store: LocalStore,
    sql: asyncpg.Connection,
    *,
    where: tuple[str, str, int, str],
) -> None:
    await take(restoring(), content)
    action, asked = Restore(), {"database": content, "into": f"{content}_x"}
    parameters = action.parameters().model_validate(asked)
    plan = await action.plan(restoring(), parameters)
    await killed(server, content, store, action, where, parameters=asked)
    job = restoring(run_id=RUN, attempt=2, started_at=BEGAN)
    await end_sessions(job)
    await action.undo(job, parameters, plan)
    assert await databases(sql, content) == [content]
    assert await databases(sql, "custode_new_") == []


@pytest.mark.parametrize(
    "where",
    [
        ("actions.recover", "copy_settings", 1, "before"),
        ("actions._switch", "_rename_all", 1, "before"),
        ("actions._switch", "_rename_all", 1, "after"),
    ],
    ids=lambda where: " ".join(map(str, where[1:])),
)
async def test_a_switch_is_whole_or_not_at_all(
    restoring: MakeSite,
    content: str,
    server: EmbeddedServer,
    store: LocalStore,
    *,
    where: tuple[str, str, int, str],
) -> None:
    await take(restoring(), content)
    action, asked = Recover(), {"database": content}
    parameters = action.parameters().model_validate(asked)
    plan = await action.plan(restoring(), parameters)
    await killed(server, content, store, action, where, parameters=asked)
    connection = await asyncpg.connect(server.dsn(content))  # in every moment there is one, and it is open
    assert await connection.fetchval("select count(*) from items") == 300
    await connection.close()
    job = restoring(run_id=RUN, attempt=2, started_at=BEGAN)
    await end_sessions(job)
    await run_steps(action, job, parameters, plan)
    verdict = await action.verify(job, parameters, plan)
    assert verdict.fixed, verdict.reason
    admin = await asyncpg.connect(server.dsn())
    assert len(await databases(admin, f"{content}_damaged")) == 1
    assert await databases(admin, f"{content}_restored") == []
    await admin.close()
