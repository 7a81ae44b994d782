"""Who is handed the reference environment: all but itself, also where another daemon watches it."""

import asyncio
import time

from collectors import Collector, Family, Rows, Target, gauge
from daemon.exposition import Page
from daemon.scrape import Scraper
from fleet.environment import Environment
from fleet.secrets import Secrets
from tests.conftest import EnvironmentMaker
from tests.scraping import HOUR


class Looks(Collector):
    """Asks the reference for its name for the database."""

    name = "looks"
    summary = "for tests"
    families = (Family(("reference",), (gauge("reference_answer", "One where there is a reference."),)),)

    async def collect(self, target: Target) -> list[Rows]:
        if target.reference is None:
            return [self.families[0].rows([])]
        answers = await target.reference.fetch("select 1")
        return [self.families[0].rows([(target.reference.environment.name, *answer) for answer in answers])]


async def seen(scraper: Scraper, name: str) -> list[tuple[object, ...]]:
    (batch,) = await scraper.scrape_now(name)
    assert batch.problem is None
    return [record for rows in batch.rows for record in rows.records]


async def test_all_but_the_reference_itself_are_handed_it(make_environment: EnvironmentMaker) -> None:
    qa, production = make_environment("qa"), make_environment("production")
    scraper = Scraper(collectors={"looks": Looks}, page=Page(), secrets=Secrets(time.monotonic), now=time.time)
    options = {"looks": Looks.Options(interval=HOUR)}

    async def watch(reference: Environment | None, *environments: Environment) -> None:
        await scraper.apply({one.name: one for one in environments}, options, {}, reference=reference)

    async with asyncio.TaskGroup() as group:
        scraper.start(group)
        try:
            await watch(production, qa, production)
            assert await seen(scraper, "qa") == [("production", 1)]
            assert await seen(scraper, "production") == []
            await watch(production, qa)  # another daemon watches it now
            assert await seen(scraper, "qa") == [("production", 1)]
            await watch(qa, qa, production)
            assert await seen(scraper, "qa") == []
            assert await seen(scraper, "production") == [("qa", 1)]
            await watch(None, qa)
            assert await seen(scraper, "qa") == []
        finally:
            await scraper.stop()
