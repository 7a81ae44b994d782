"""A daemon that guards 1,000 environments, as collectors would tell of them; nothing is connected to.

It is the daemon as it is, but for the scraper: batches come from here instead, in the families of the collectors.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import yaml

from collectors import Family, Rows
from collectors.backups import COPIES, RESTORE_TEST
from collectors.disks import DISKS
from collectors.indexes import _INDEXES as INDEXES
from collectors.policy import PROMISES, _promises
from collectors.schema import OBJECTS, REVISION
from collectors.security import PLAINTEXT, SERVER
from collectors.server import _INFO as SERVER_INFO
from collectors.sizes import _INDEXES as SIZES
from collectors.vectors import _INFO as VECTORS
from daemon import clock
from daemon.app import Custode
from daemon.config import Settings
from daemon.exposition import series
from daemon.scrape import Batch
from daemon.scrape._batch import about_environment, about_run
from fleet.environment import Environment
from fleet.stores import Store

TIERS = ("development", "qa", "preprod", "production")
INDEXES_EACH = 3
TROUBLED = 0.05  # of the environments, with each of the troubles
TURNING = 0.002  # of them at each turn


def write_configuration(directory: Path, environments: int) -> Path:
    """The configuration of a fleet whose servers are not there."""
    content = {
        "data_dir": str(directory / "custode"),
        "listen": "127.0.0.1:0",
        "rules": {"interval": "15s"},
        "notifiers": {"jsonl": {"path": str(directory / "events.jsonl")}},
        "environments": {
            f"{TIERS[number % 4]}-{number:04}": {
                "tier": TIERS[number % 4],
                "dsn": f"postgresql://custode@/app?host={directory}/none",
                "databases": ["app"],
            }
            for number in range(environments)
        },
    }
    path = directory / "custode.yml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def told(draw: random.Random, environment: Environment, now: float) -> Iterator[tuple[str, list[Rows]]]:
    """What each collector says of an environment now; some have trouble, and a few get into it or out of it."""
    lasting = random.Random(environment.name)  # noqa: S311 - made-up figures, the same in every run

    def troubled() -> bool:
        return (lasting.random() < TROUBLED) != (draw.random() < TURNING)

    def one(family: Family, *values: object) -> Rows:
        return family.rows([values])

    backup = now - draw.uniform(60, 3000) - (200_000 if troubled() else 0)
    proven = now - draw.uniform(3600, 500_000)
    free = draw.uniform(0.001, 0.05) if troubled() else draw.uniform(0.3, 0.9)
    indexes = [("app", "public", f"table_{n}", f"table_{n}_pkey") for n in range(INDEXES_EACH)]
    yield "server", [one(SERVER_INFO, "17.6 (Debian 17.6-1)", "170006", 1)]
    yield "policy", [one(PROMISES, *_promises(environment))]
    yield (
        "backups",
        [
            one(COPIES, "local", backup, backup - 40, 5e9, 1e8, 40.0, 5e9, 30, 4e10, 0, 2),
            one(RESTORE_TEST, proven, 80.0, 60.0, proven - 900),
        ],
    )
    yield (
        "schema",
        [
            one(REVISION, "app", "e1f47b90c6a3", 1),
            OBJECTS.rows([("app", kind, 20) for kind in ("column", "constraint", "index", "table")]),
        ],
    )
    yield "disks", [one(DISKS, "/var/lib/postgresql", "statvfs", 1e12, 1e12 * free)]
    yield "security", [one(SERVER, 1, 1), one(PLAINTEXT, 5 if troubled() else 0)]
    yield "vectors", [one(VECTORS, "hnsw", "vector_cosine_ops", "embedding", "1536", *indexes[0], 1)]
    yield (
        "indexes",
        [INDEXES.rows([(*index, 1, 1e6, now, now, now, now - draw.random(), now, now) for index in indexes])],
    )
    yield "sizes", [SIZES.rows([(*index, draw.randrange(10**9), 40.0, 39.0) for index in indexes])]


class Fed(Custode):
    """A daemon to which batches are handed."""

    async def _watch(self, settings: Settings, stores: Mapping[str, Store]) -> None:
        """There is nothing to connect to."""

    told = False

    def _not_ready(self) -> str | None:
        return None if self.told else "nobody has told anything yet"

    async def settle(self) -> None:
        """Until what was handed over has landed; then everything was told once."""
        await self._alerting.settle()
        self.told = True

    async def keep_feeding(self, draw: random.Random, seconds: float) -> None:
        while True:
            await self.feed(draw, seconds)

    async def feed(self, draw: random.Random, seconds: float) -> int:
        """A batch of each collector of each environment, as the scraper lands them; how many samples that were."""
        loop, count, environments = asyncio.get_running_loop(), 0, self.settings.environments.values()
        begun = loop.time()
        for number, environment in enumerate(environments):
            await asyncio.sleep(begun + seconds * number / len(environments) - loop.time())
            for collector, rows in told(draw, environment, clock.now()):
                count += await self._land_one(environment, collector, rows, first=collector == "server")
        return count

    async def _land_one(self, environment: Environment, collector: str, rows: list[Rows], *, first: bool) -> int:
        labels = {"environment": environment.name, "tier": environment.tier.value}
        batch = Batch(environment.name, labels, collector, clock.now(), 0.01, tuple(rows), series=series(rows))
        run = about_run(batch, batch.started)
        await self.page.land(labels, collector, (*rows, *run))
        self._on_batch(replace(batch, meta=(*run, *about_environment(True)), reached=True))
        if first:
            await self.page.land(labels, "up", about_environment(True))
        return batch.series + series(run) + first
