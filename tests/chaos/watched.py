"""The state database, the environment and the store as the product has them, and each durable change a boundary."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import _AsyncGeneratorContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.state import StateDatabase, raw
from fleet.connections import Connection, Connections
from fleet.secrets import Secrets, SecretText
from fleet.stores import Stat
from fleet.stores.local import LocalStore
from tests.chaos.boundaries import AFTER, BEFORE, DURING, Boundaries

T = TypeVar("T")
# they write whenever their time has come, beside the run: in themselves, or in a task of theirs
_BESIDE = frozenset({"Work._pulse", "Engine.sweep", "_keep_ending"})
# of no effect, unless one of these is called
_LOOKS = re.compile(
    r"(?is)(?:\s|--[^\n]*(?:\n|$))*(select|show|set|reset)\b(?!.*\bpg_(terminate_backend|cancel_backend|advisory_))"
)
# what is called otherwise in each run: ids and times in names
_OWN = re.compile(r"[0-9a-f]{12}|\d{8}_\d{6}")
_WROTE = "select pg_current_xact_id_if_assigned() is not null"


class WatchedState(StateDatabase):
    """Each transaction that wrote is a place, called after the function that asked for it."""

    def __init__(self, url: SecretText, data_dir: Path, secrets: Secrets, boundaries: Boundaries) -> None:
        super().__init__(url, data_dir, secrets)
        self._boundaries = boundaries

    def begin(self, *, durable: bool = True) -> _AsyncGeneratorContextManager[AsyncConnection]:
        return self._placed(sys._getframe(1).f_code.co_qualname.replace("<locals>.", ""), durable)

    @asynccontextmanager
    async def _placed(self, asker: str, durable: bool) -> AsyncIterator[AsyncConnection]:
        place = None
        async with super().begin(durable=durable) as connection:
            yield connection
            if not _is_beside(asker) and await (await raw(connection)).fetchval(_WROTE):
                place = self._boundaries.enter("commit", asker)
                await self._boundaries.reach(place, BEFORE)
        if place is not None:
            await self._boundaries.reach(place, AFTER)


class WatchedSession(asyncpg.Connection):
    """Each statement that changes something is a place; "during" is after it was sent: the server goes on alone."""

    __slots__ = ()
    boundaries: ClassVar[Boundaries]

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:  # noqa: ASYNC109 - asyncpg's
        if args:  # by `_execute`
            return await super().execute(query, *args, timeout=timeout)
        return await self._place(query, partial(super().execute, query, timeout=timeout))

    async def _execute(self, query: str, args: Sequence[object], *rest: Any, **more: Any) -> Any:
        ours, theirs = cast("Any", self), cast("Any", super())
        await ours._get_statement(query, None)  # or what is sent first is only the question what it means
        return await self._place(query, partial(theirs._execute, query, args, *rest, **more))

    async def _copy_in(self, copy_stmt: str, source: Any, timeout: float | None) -> Any:  # noqa: ASYNC109 - asyncpg's
        return await self._place(copy_stmt, partial(cast("Any", super())._copy_in, copy_stmt, source, timeout))

    async def _place(self, query: str, send: Callable[[], Awaitable[T]]) -> T:
        if _LOOKS.match(query) or _is_beside():
            return await send()
        boundaries = self.boundaries
        place = boundaries.enter("change", " ".join(_OWN.sub("~", query).split())[:60])
        await boundaries.reach(place, BEFORE)
        if boundaries.is_fatal(place, DURING):
            sent = asyncio.ensure_future(send())
            await asyncio.sleep(0)  # one step of it
            assert not sent.cancelled()
        await boundaries.reach(place, DURING)
        result = await send()
        await boundaries.reach(place, AFTER)
        return result


class WatchedConnections(Connections):
    async def _connect(self, database: str | None) -> Connection:
        connection = await super()._connect(database)
        connection.__class__ = WatchedSession
        return connection


class WatchedStore(LocalStore):
    """Each object that is stored or deleted is a place; "during" is when its first part is written."""

    def __init__(self, path: Path, boundaries: Boundaries) -> None:
        super().__init__(LocalStore.Options(path=path))
        self._boundaries = boundaries

    async def put(self, key: str, content: AsyncIterator[bytes]) -> Stat:
        place = self._boundaries.enter("store", f"put {_kind(key)}")

        async def parts() -> AsyncIterator[bytes]:
            first = True
            async for part in content:
                yield part
                if first:
                    await self._boundaries.reach(place, DURING)
                first = False

        await self._boundaries.reach(place, BEFORE)
        stat = await super().put(key, parts())
        await self._boundaries.reach(place, AFTER)
        return stat

    async def delete(self, key: str) -> None:
        place = self._boundaries.enter("store", f"delete {_kind(key)}")
        await self._boundaries.reach(place, BEFORE)
        await super().delete(key)
        await self._boundaries.reach(place, AFTER)


def _is_beside(asker: str = "") -> bool:
    task = asyncio.current_task()
    return not {asker, getattr(task and task.get_coro(), "__qualname__", "")}.isdisjoint(_BESIDE)


def _kind(key: str) -> str:
    """Manifest or dump: the rest of a key is another one each time."""
    return "manifest" if key.endswith("/manifest.json") else "dump"
