"""Prometheus's HTTP API on a real store and engine, over a real socket."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp

from collectors import counter, info
from daemon.exposition import Page
from daemon.queries import SAMPLES, Queries
from daemon.telemetry import Telemetry
from daemon.web.prometheus import prometheus_routes
from daemon.web.server import WebServer
from rules import Dialect, Labels, RuleEngine, SampleStore, parse_text

T = TypeVar("T")
START = 1_700_000_000.0
NOW = START + 600.5
RULES = """
groups:
- name: first
  interval: 30s
  limit: 5
  rules:
  - alert: Down
    expr: up == 0
    labels: {severity: page}
    annotations: {summary: "{{ $labels.instance }} is down"}
  - alert: Slow
    expr: up == 1
    for: 1h
  - alert: Gone
    expr: gone > 0
    keep_firing_for: 5m
  - alert: Never
    expr: up == 7
  - record: up:sum
    expr: sum(up)
    labels: {kind: sum}
  - alert: Broken
    expr: up * on() up
- name: second
  rules:
  - record: one
    expr: vector(1)
"""
METRICS = (counter("x_total", "How many."), info("y_info", "What."))
ODD = {"nan": math.nan, "inf": math.inf, "minus": -math.inf, "large": 1e21, "whole": 1e16, "small": 1e-7, "tenth": 0.1}
DB1 = {"__name__": "up", "instance": "db1", "job": "pg"}
DB2 = {"__name__": "up", "instance": "db2", "job": "pg"}


class Owner:
    """The thread that owns the store."""

    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(1)
        self.threads: set[int] = set()

    async def __call__(self, work: Callable[[], T]) -> T:
        def noted() -> T:
            self.threads.add(threading.get_ident())
            return work()

        return await asyncio.get_running_loop().run_in_executor(self.executor, noted)


@dataclass
class Site:
    """A server and what is behind it."""

    url: str
    client: aiohttp.ClientSession
    store: SampleStore
    engine: RuleEngine
    queries: Queries
    run: Owner

    async def get(self, path: str, **parameters: Any) -> tuple[int, Any]:
        pairs = [(key.replace("_list", "[]"), one) for key, value in parameters.items() for one in _many(value)]
        async with self.client.get(f"/api/v1/{path}", params=pairs) as response:
            assert response.content_type == "application/json"
            return response.status, json.loads(await response.text(), parse_constant=_refuse)

    async def data(self, path: str, **parameters: Any) -> Any:
        status, document = await self.get(path, **parameters)
        assert (status, document["status"]) == (200, "success"), document
        return document["data"]

    async def error(self, path: str, **parameters: Any) -> tuple[int, str, str]:
        status, document = await self.get(path, **parameters)
        assert document["status"] == "error"
        assert set(document) == {"status", "errorType", "error"}
        return status, document["errorType"], document["error"]


def _many(value: Any) -> list[str]:
    return list(map(str, value)) if isinstance(value, list) else [str(value)]


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def fill(store: SampleStore) -> RuleEngine:
    engine = RuleEngine(store, parse_text(RULES, "/etc/rules.yml"))
    for step in range(41):
        at = START + 15 * step
        up = [
            (Labels({"__name__": "up", "instance": instance, "job": "pg"}), value)
            for instance, value in (("db1", 1.0), ("db2", float(step < 20)))
        ]
        counted = [(Labels({"__name__": "requests_total", "instance": "db1", "job": "pg"}), 10.0 * step)]
        gone = [(Labels({"__name__": "gone", "instance": "old"}), 1.0)] if step < 5 else []
        odd = [(Labels({"__name__": "odd", "kind": kind}), value) for kind, value in ODD.items()] if step == 40 else []
        store.land("qa/tables", at, [*up, *counted, *gone, *odd])
        store.land("qa/names", at, [(Labels({"__name__": "a.metric", "a.label": "pi\u00f9", "_b": "1"}), 1.0)])
        engine.evaluate_all(at)
    return engine


@asynccontextmanager
async def serving(dialect: Dialect | None = None, *, samples: int = SAMPLES) -> AsyncIterator[Site]:
    store, run = SampleStore(floor=3600.0), Owner()
    engine = fill(store)
    queries = Queries(store, run, dialect=dialect or Dialect(), now=lambda: NOW, samples=samples)
    server = WebServer(
        Page(Telemetry().render),
        not_ready=lambda: None,
        reload=_nothing,
        register=[prometheus_routes(queries, engine, metadata=lambda: METRICS)],
    )
    await server.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(server.address) as client:
            yield Site(server.address, client, store, engine, queries, run)
    finally:
        await server.stop()
        run.executor.shutdown()


async def _nothing() -> None:
    pass
