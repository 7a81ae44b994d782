"""The loop itself: tickers, first runs, reload, stop."""

from __future__ import annotations

import asyncio
import gc
from datetime import timedelta

import pytest

from collectors import Collector, Family, Rows, Target, gauge
from daemon.alerting._samples import SampleCache
from daemon.scrape import Batch
from fleet.errors import DaemonError
from rules import Labels
from tests.conftest import EnvironmentMaker
from tests.scraping import HOUR, Probe, Sleeper, scraping

OFTEN = Collector.Options(interval=timedelta(seconds=0.1))
FAMILY = Family(("n",), (gauge("probe_many", "Many."),))


class Many(Collector):
    """Gives more than is allowed."""

    name = "many"
    summary = "for tests"
    families = (FAMILY,)

    async def collect(self, _target: Target) -> list[Rows]:
        return [FAMILY.rows([(n, 1) for n in range(6000)])]


async def test_a_hanging_environment_delays_no_other(make_environment: EnvironmentMaker) -> None:
    options = {"probe": OFTEN, "sleeper": Collector.Options(interval=HOUR, timeout=timedelta(seconds=60))}
    hanging, other = make_environment("hanging", connections=1), make_environment("other")
    async with scraping(hanging, other, collectors=(Sleeper, Probe), options=options) as running:
        await running.until(lambda: len(running.of("other", "probe")) >= 4)
        assert running.of("hanging", "sleeper") == []
        assert "hanging (sleeper" in str(running.scraper.not_ready())
        started = [batch.started for batch in running.of("other", "probe")]
        assert started == sorted(started)


async def test_meta_series_tell_about_the_run(make_environment: EnvironmentMaker) -> None:
    options = {"many": Collector.Options(interval=HOUR, max_series=5500)}
    environment = make_environment(labels={"team": "dba"})
    async with scraping(environment, collectors=(Many,), options=options) as running:
        await running.until(lambda: running.scraper.not_ready() is None)
        [batch] = running.batches
        assert (batch.success, batch.series, batch.dropped) == (True, 5500, 500)
        labels = {"environment": "qa", "tier": "qa", "team": "dba", "collector": "many"}
        assert running.value("custode_collector_success", **labels) == "1"
        assert running.value("custode_collector_series", **labels) == "5500"
        assert running.value("custode_collector_series_dropped", **labels) == "500"
        assert float(running.value("custode_collector_duration_seconds", **labels) or "nan") == batch.duration
        last = running.value("custode_collector_last_success_timestamp_seconds", **labels)
        assert float(last or "nan") == batch.started


async def test_a_batch_holds_what_the_page_shows(make_environment: EnvironmentMaker) -> None:
    async with scraping(make_environment(), collectors=(Probe,)) as running:
        [batch] = await running.scraper.scrape_now("qa")
        facts, about = SampleCache().samples(batch)
        where = {"environment": "qa", "tier": "qa"}
        assert facts == [(Labels({"__name__": "custode_probe_answer", **where}), 42.0)]
        assert running.value("custode_probe_answer", **where) == "42"
        assert {labels.name: value for labels, value in about if value in {0.0, 1.0}} == {
            "custode_up": 1.0,
            "custode_collector_success": 1.0,
            "custode_collector_series": 1.0,
            "custode_collector_series_dropped": 0.0,
        }
        for labels, value in about:
            assert float(running.value(labels.name, **labels.without(("__name__",))) or "nan") == value


async def test_scrape_now_waits_for_a_run_of_its_own(make_environment: EnvironmentMaker) -> None:
    async with scraping(make_environment(), collectors=(Probe,)) as running:
        first, second = await asyncio.gather(
            running.scraper.scrape_now("qa", ["probe", "disabled"]), running.scraper.scrape_now("qa", ["probe"])
        )
        assert [batch.collector for batch in first + second] == ["probe", "probe"]
        assert first[0] is not second[0]
        with pytest.raises(DaemonError, match="'nowhere'"):
            await running.scraper.scrape_now("nowhere")


async def test_a_reload_touches_only_what_changed(make_environment: EnvironmentMaker) -> None:
    same, changed, gone = make_environment("same"), make_environment("changed"), make_environment("gone")
    async with scraping(same, changed, gone, collectors=(Probe, Many)) as running:
        await running.until(lambda: running.scraper.not_ready() is None)
        options = {"probe": Collector.Options(interval=HOUR), "many": Collector.Options(enabled=False)}
        environments = {
            "same": same,
            "changed": make_environment("changed", labels={"team": "dba"}),
            "added": make_environment("added"),
        }
        await running.scraper.apply(environments, options, {})
        await running.until(lambda: running.scraper.not_ready() is None)
        assert len(running.of("same", "probe")) == 1
        assert len(running.of("changed", "probe")) == 2
        assert running.value("custode_probe_answer", environment="same") == "42"
        assert running.value("custode_probe_answer", environment="changed", team="dba") == "42"
        assert running.value("custode_probe_answer", environment="added") == "42"
        text = running.page.render(openmetrics=False, gzip=False).decode()
        assert 'environment="gone"' not in text
        assert "custode_probe_many" not in text


async def test_a_reload_that_fails_changes_nothing(make_environment: EnvironmentMaker) -> None:
    class Picky(Probe):
        name = "picky"

        def __init__(self, options: Collector.Options) -> None:
            if options.max_series == 13:
                raise ValueError("unlucky")
            super().__init__(options)

    same = make_environment("same")
    async with scraping(same, collectors=(Picky,)) as running:
        await running.until(lambda: running.scraper.not_ready() is None)
        with pytest.raises(ValueError, match="unlucky"):
            await running.scraper.apply(
                {"new": make_environment("new"), "same": same}, {"picky": Collector.Options(max_series=13)}, {}
            )
        assert running.value("custode_collector_success", environment="same") == "1"
        assert [batch.environment for batch in await running.scraper.scrape_now("same")] == ["same"]
        with pytest.raises(DaemonError):
            await running.scraper.scrape_now("new")


async def test_a_broken_listener_stops_nothing(make_environment: EnvironmentMaker) -> None:
    async with scraping(make_environment(), collectors=(Probe,), options={"probe": OFTEN}) as running:

        def broken(batch: Batch) -> None:
            raise RuntimeError(batch.collector)

        running.listeners.insert(0, broken)
        await running.until(lambda: len(running.batches) >= 3)


async def test_stop_is_bounded_and_leaves_nothing(make_environment: EnvironmentMaker) -> None:
    async with scraping(make_environment(), collectors=(Sleeper, Probe)) as running:
        await running.until(lambda: bool(running.of("qa", "probe")))
        async with asyncio.timeout(6):
            await running.scraper.stop()
        assert running.page.render(openmetrics=False, gzip=False) == b""
        assert running.scraper.not_ready() == "no environment is watched yet"
    gc.collect()
