"""Our side of the figures on vector indexes, in a process of its own: `python -m tests.bench.vectors_ours act ...`.

Everything that a daemon has loaded is loaded, so that the memory is the daemon's; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time
from typing import Any

import psutil

import actions
import daemon.app  # noqa: F401 - for its weight
from actions import Action, Job
from fleet.environment import Environment
from fleet.plugins import load_plugins
from fleet.vectors import vector_indexes
from fleet.vectors.allowance import Allowance
from fleet.vectors.exact import ExactSearch
from fleet.vectors.probe import cheap_probe, read_exact
from fleet.vectors.recall import K, point
from fleet.vectors.sample import sample_queries
from fleet.vectors.search import search_many, search_sql
from tests.bench.backup_ours import _act, _lag
from tests.integration.actions_kit import at_work

_QUERIES, _COMPARED = 100, 5  # of the queries so many are asked of the server too, by a scan of all rows
_JUDGED = 1000  # queries by which two indexes are compared: with 100 the interval is 0.1 wide


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("act", "probe"))
    parser.add_argument("dsn")
    parser.add_argument("database")
    parser.add_argument("index")
    parser.add_argument("--action", default="")
    parser.add_argument("--parameters", type=json.loads, default={})
    print(json.dumps(asyncio.run(_measure(parser.parse_args()))))


async def _measure(arguments: argparse.Namespace) -> dict[str, Any]:
    environment = Environment.model_validate(
        {
            "name": "qa",
            "tier": "qa",
            "dsn": arguments.dsn,
            "databases": [arguments.database],
            "tls": {"mode": "disable"},
        }
    )
    async with at_work(environment) as job:
        if arguments.what == "probe":
            return await _probe(job, arguments.index)
        action = load_plugins(actions, Action)[arguments.action]()
        return await _act(job, action, {"indexrelname": arguments.index} | arguments.parameters)


async def _probe(job: Job, name: str) -> dict[str, Any]:
    told: dict[str, Any] = {}
    async with job.connections.acquire() as connection, _lag(told):
        (index,) = await vector_indexes(connection, (None, None, name))
        queries = await sample_queries(connection, index, _QUERIES)
        postmaster = psutil.Process(await connection.fetchval("select pg_backend_pid()")).parent()
        worked, begun = _worked(postmaster), time.perf_counter()
        search = ExactSearch(index, queries, K)
        await read_exact(job.environment, job.secrets, index, search)
        told["exact_seconds"] = time.perf_counter() - begun
        async with asyncio.timeout(10):
            while _worked(postmaster) == worked:
                await asyncio.sleep(0.01)
        told["exact_server_seconds"] = _worked(postmaster) - worked
        truth = search.distances
        exact = point(await search_many(connection, index, queries, K), truth)
        begun = time.perf_counter()
        cheap = await cheap_probe(connection, index, queries, Allowance(index, None, 60.0))
        told["cheap_seconds"] = time.perf_counter() - begun
        assert exact is not None
        assert cheap is not None
        told |= {"size_mb": index.size_bytes / 1e6, "search_ms": exact.seconds * 1000}
        told |= {"exact_recall": exact.recall.ratio, "cheap_recall": cheap.recall.ratio}
        await connection.execute("set enable_indexscan = off")
        furthest = 0.0
        for query, nearest in list(zip(queries, truth, strict=True))[:_COMPARED]:
            records = await connection.fetch(search_sql(index, K + 1), query.text)
            server = [record["distance"] for record in records if record["ctid"] != query.row][:K]
            furthest = max([furthest, *(abs(one - other) for one, other in zip(server, nearest, strict=True))])
        told["furthest_from_server"] = furthest
        told["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        await connection.execute("reset enable_indexscan")
        queries = await sample_queries(connection, index, _JUDGED)
        search = ExactSearch(index, queries, K)
        await read_exact(job.environment, job.secrets, index, search)
        judged = point(await search_many(connection, index, queries, K), search.distances)
        assert judged is not None
        told |= {"judged_recall": judged.recall.ratio, "judged_queries": len(queries)}
    return told


def _worked(server: psutil.Process | None) -> float:
    """What ended sessions of the server have worked, in seconds: that of a pass among them, once it is over."""
    assert server is not None
    times = server.cpu_times()
    return float(times.children_user + times.children_system)


if __name__ == "__main__":
    main()
