"""Prometheus's HTTP API under load and under attack: it ends in time, and rules are not held up."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial

import pytest
from structlog.testing import capture_logs
from yarl import URL

from daemon.queries import AT_ONCE, WAITING, QueriesBusyError
from rules import Labels
from tests.integration.prometheus_site import NOW, START, Site, serving


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving() as found:
        yield found


async def test_what_cannot_be_evaluated_is_422(site: Site) -> None:
    status, kind, error = await site.error("query", query="up * on() up")
    assert (status, kind) == (422, "execution")
    assert "many-to-many matching not allowed" in error or "duplicate series" in error
    range_ = {"query": "up * on() up", "start": START, "end": NOW, "step": 15}
    assert (await site.error("query_range", **range_))[:2] == (422, "execution")
    assert len((await site.data("query", query="up"))["result"]) == 2


async def test_too_many_samples_are_422() -> None:
    async with serving(samples=5000) as site:
        text = "query processing would load too many samples into memory in query execution"
        assert await site.error("query", query="max_over_time(up[10m:1s])") == (422, "execution", text)
        range_ = {"query": "up", "start": START, "end": NOW, "step": 1}
        assert await site.error("query_range", **range_) == (422, "execution", text)


async def test_a_timeout_is_503(site: Site) -> None:
    slow = {"query": "max_over_time(up[50m:1s])", "timeout": "5ms"}
    text = "query timed out in expression evaluation"
    assert await site.error("query", **slow) == (503, "timeout", text)
    assert await site.error("query_range", **slow, start=START, end=NOW, step=1) == (503, "timeout", text)
    assert (await site.error("query", query="up", timeout="-1"))[:2] == (503, "timeout")


async def test_only_so_many_at_once_and_only_so_many_wait(site: Site) -> None:
    release = asyncio.Event()

    async def hold(seconds: float = 30.0) -> None:
        async with site.queries.turn(seconds):
            await release.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(hold())
        await asyncio.sleep(0)
        assert await site.error("query", query="up", timeout="10ms") == (
            503,
            "timeout",
            "query timed out in query queue",
        )
        for _ in range(WAITING):
            group.create_task(hold())
        await asyncio.sleep(0)
        assert (await site.error("query", query="up"))[:2] == (503, "unavailable")
        with pytest.raises(QueriesBusyError):
            await hold()
        release.set()
    assert len((await site.data("query", query="up"))["result"]) == 2


async def test_a_place_is_free_again_after_a_failure(site: Site) -> None:
    for _ in range(2 * AT_ONCE):
        await site.error("query", query="(")
        await site.error("query", query="up * on() up")
    assert await site.data("query", query="up", timeout="1s")


async def test_two_ranges_of_one_expression_at_once(site: Site) -> None:
    wide = [(Labels({"__name__": "wide", "n": str(n)}), float(n)) for n in range(2000)]
    for step in range(10):
        site.store.land("qa/wide", START + 60 * step, wide)
    ranges = [(START + 30 * n, START + 30 * n + 300.0) for n in range(4)]
    asked = {"query": "sum by (n) (wide + wide) > 3990", "step": 1}
    alone = [await site.data("query_range", **asked, start=start, end=end) for start, end in ranges]
    assert all(len(one["result"]) == 4 for one in alone)
    together = await asyncio.gather(
        *(site.data("query_range", **asked, start=start, end=end) for start, end in ranges),
        *(site.data("query", query=asked["query"], time=START + 60) for _ in range(8)),
    )
    assert together[:4] == alone


async def test_a_long_range_lets_others_in(site: Site) -> None:
    """Work of the rules waits for one portion at most; what lands in between is no trouble."""
    steps = {"query": "max_over_time(up[2m:1s])", "start": START, "end": NOW, "step": 1}
    landed = 0

    async with asyncio.TaskGroup() as group:
        asking = group.create_task(site.data("query_range", **steps))
        while not asking.done():
            series = [(Labels({"__name__": "x", "n": str(landed)}), 1.0)]
            await site.run(partial(site.store.land, "qa/x", START, series))
            landed += 1
            await asyncio.sleep(0.001)
    assert len(asking.result()["result"]) == 2
    assert landed > 10, "while the range was worked on"


async def test_a_range_that_nobody_waits_for_is_given_up(site: Site) -> None:
    slow = {"query": "max_over_time(up[50m:1s])", "start": str(START), "end": str(NOW), "step": "1"}
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await site.client.get("/api/v1/query_range", params=slow)
    async with AsyncExitStack() as held:  # all places are free long before the range would have ended
        for _ in range(AT_ONCE):
            await held.enter_async_context(site.queries.turn(2.0))


async def test_a_large_answer_comes_whole_and_in_chunks(site: Site) -> None:
    wide = [(Labels({"__name__": "wide", "n": f"{n:04}"}), n / 7) for n in range(500)]
    site.store.land("qa/wide", START, wide)
    asked = {"query": "wide", "start": str(START), "end": str(START + 250), "step": "1"}
    async with site.client.get("/api/v1/query_range", params=asked) as response:
        assert response.headers["Transfer-Encoding"] == "chunked"
        found = json.loads(await response.read())["data"]["result"]
    assert [one["metric"]["n"] for one in found] == [f"{n:04}" for n in range(500)]
    assert all(len(one["values"]) == 251 for one in found)
    assert found[499]["values"][250] == [START + 250, repr(499 / 7)]
    assert len(await site.data("series", match_list="wide")) == 500


HOSTILE = [
    "(" * 5000 + "up" + ")" * 5000,
    "-" * 700 + "up",
    "up" + " + up" * 790,
    'up{a=~"' + "(a{1000}){1000}" + '"}',
    "\0",
    "\U0001f600",
    "label_replace(" * 300 + "up" + ', "a", "$1", "b", "(.*)")' * 300,
    "max_over_time(" * 5 + "up" + "[1h:1s])" * 5,
    "count_values('x', up) @ 9e15",
    "up[9999999999y]",
]


@pytest.mark.parametrize("query", HOSTILE)
async def test_hostile_expressions_end_soon_and_harm_nobody(site: Site, query: str) -> None:
    for path, more in (("query", {}), ("query_range", {"start": str(START), "end": str(NOW), "step": "60"})):
        asked = {"query": query, "timeout": "1s", **more}
        async with asyncio.timeout(60), site.client.post(f"/api/v1/{path}", data=asked) as response:
            assert response.status in {200, 400, 422, 503}
            await response.json()
    assert len((await site.data("query", query="up"))["result"]) == 2


async def test_hostile_forms(site: Site) -> None:
    for raw in ("query=%ff", "query=up&time=%c3%28", "a=1&" * 1001):
        async with site.client.get(URL(f"/api/v1/query?{raw}", encoded=True)) as response:
            assert response.status == 400
            assert "error parsing form values: " in (await response.json())["error"]
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for body, status in ((b"match[]=a&" * 100_000, 400), (b"match[]=a&" * 1_000_000, 413), (b"query=\xff", 400)):
        async with site.client.post("/api/v1/series", data=io.BytesIO(body), headers=headers) as response:
            assert response.status == status
    async with site.client.get("/api/v1/label/%ff/values") as response:
        assert response.status == 200
    async with site.client.get("/api/v1/nothing") as response:
        assert response.status == 404


async def test_an_unforeseen_failure_is_logged_and_told_without_details(site: Site) -> None:
    site.queries.now = lambda: 1 / 0
    with capture_logs() as logs:
        assert await site.error("query", query="up") == (500, "internal", "internal error, see the log")
    assert [entry["event"] for entry in logs] == ["query_api_failed"]
