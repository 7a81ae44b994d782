"""A writer and a reader beside a cleanup, in a process of their own: `tests.bench.cleanup_traffic DSN FOLDER`.

The writer adds messages, and changes young ones and old ones, which are about to go: where such a row is being deleted,
it waits. Each statement is a transaction of its own, durable as the server has it. They begin by writing the file
`begun` into the folder and end once there is a file `end`. The last line is one JSON object, times in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np

_PAUSE = 0.002
_FIRST = 50  # statements that are not counted: the session reads the catalogue
_INSERT = "insert into messages (conversation_id, role, content) values ($1, 'user', 'ciao')"
_UPDATE = "update messages set content = 'corretto' where id = $1"
_SELECT = "select count(*), max(content) from messages where conversation_id = $1"
_PLACES = """
    select (select max(id) from messages where created_at < now() - interval '90 days') as old,
        (select max(id) from messages) as last, (select max(id) from conversations) as conversation,
        (select count(*) from conversations where created_at >= now() - interval '90 days') as young
"""


class Traffic:
    """`old` and `last` are the numbers of the newest old message and of the newest; conversations likewise."""

    def __init__(self, place: asyncpg.Record, end: Path) -> None:
        self._old, self._last = place["old"], place["last"]
        self._conversations = place["conversation"] - place["young"] + 1, place["conversation"]
        self._end = end
        self._chance = random.Random(3)  # noqa: S311 - to be repeated

    async def write(self, connection: asyncpg.Connection, number: int) -> None:
        match number % 4:
            case 0:
                await connection.execute(_INSERT, self._chance.randint(*self._conversations))
            case 1:
                await connection.execute(_UPDATE, self._chance.randint(self._old + 1, self._last))
            case _:
                await connection.execute(_UPDATE, self._chance.randint(1, self._old))

    async def read(self, connection: asyncpg.Connection, _number: int) -> None:
        await connection.fetchrow(_SELECT, self._chance.randint(1, self._conversations[1]))

    async def work(self, connection: asyncpg.Connection, each: Callable[..., Awaitable[None]]) -> list[float]:
        """Milliseconds of each statement."""
        waits, number = [], 0
        while not self._end.exists():
            begun = time.perf_counter()
            await each(connection, number)
            waits.append((time.perf_counter() - begun) * 1000)
            number += 1
            await asyncio.sleep(_PAUSE)
        return waits[_FIRST:]


def told(waits: list[float], what: str) -> dict[str, Any]:
    names = {f"{what}_p50_ms": 50, f"{what}_p99_ms": 99, f"{what}_p999_ms": 99.9, f"longest_{what}_ms": 100}
    return {name: round(float(np.percentile(waits, q)), 2) for name, q in names.items()} | {f"{what}s": len(waits)}


async def measure(dsn: str, folder: Path) -> dict[str, Any]:
    writer, reader = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    (place,) = await writer.fetch(_PLACES)
    traffic = Traffic(place, folder / "end")
    (folder / "begun").touch()
    waits = await asyncio.gather(traffic.work(writer, traffic.write), traffic.work(reader, traffic.read))
    await writer.close()
    await reader.close()
    return told(waits[0], "write") | told(waits[1], "read")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dsn")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run(measure(arguments.dsn, arguments.folder))))


if __name__ == "__main__":
    main()
