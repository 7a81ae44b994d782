"""Probes of one index: a cheap one, judged by the same index at a high setting, and an exact one, by a pass over all.

The cheap one sees what a higher setting would find and not what the index has lost altogether, so the exact one is to
confirm it now and then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from fleet.backups.bulk import Bulk
from fleet.backups.libpq import client_environment, connection_parameters
from fleet.connections import Connection
from fleet.environment import Environment
from fleet.errors import ActionError
from fleet.secrets import Secrets
from fleet.vectors.allowance import Allowance
from fleet.vectors.catalogue import VectorIndex
from fleet.vectors.exact import ExactSearch, copy_query
from fleet.vectors.recall import K, Point, point, shares
from fleet.vectors.recommended import MOST_EF_SEARCH, Method, probes_for
from fleet.vectors.search import Answers, Query, search_many

LEAST_QUERIES = 10  # of fewer, the figures say nothing
_ORACLE_EF_SEARCH = 400
_PILOTS = 10  # queries by which the oracle of an IVFFlat index is chosen
_ENOUGH = 0.99  # of what twice as many lists find
_TOLD_EVERY = 10_000  # rows
_BEGIN = """
    begin isolation level repeatable read read only; set local statement_timeout = 0; set local lock_timeout = '3s';
    set local row_security = off; set local max_parallel_workers_per_gather = 0
"""


async def cheap_probe(
    connection: Connection, index: VectorIndex, queries: Sequence[Query], allowance: Allowance, k: int = K
) -> Point | None:
    """Recall and speed at the session's own setting; None where the allowance ends before LEAST_QUERIES.

    Raises:
        ActionError, asyncpg.PostgresError: see `search_many`.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        own = await search_many(connection, index, queries, k, allowance=allowance)
        oracle = await _oracle(connection, index, queries[:_PILOTS], own.setting, allowance)
        truth = await search_many(connection, index, queries[: len(own.distances)], k, oracle, allowance=allowance)
    if len(truth.distances) < min(LEAST_QUERIES, len(queries)):
        return None
    compared = len(truth.distances)
    return point(Answers(own.setting, own.distances[:compared], own.seconds), truth.distances, k)


async def search_curve(
    connection: Connection,
    index: VectorIndex,
    queries: Sequence[Query],
    truth: Sequence[Sequence[float]],
    settings: Sequence[int | None],
) -> list[Point]:
    """A point for each setting (None: the session's own), in that order.

    Raises:
        ActionError, asyncpg.PostgresError: see `search_many`.
    """
    points = []
    for setting in settings:
        found = point(await search_many(connection, index, queries, K, setting), truth)
        if found is not None:
            points.append(found)
    return points


def usual_settings(index: VectorIndex) -> tuple[int, ...]:
    """At which a curve tells something."""
    if index.method is Method.HNSW:
        return 20, 40, 80, 160, 400
    lists = index.options["lists"]
    return tuple(sorted({min(lists, probes) for probes in (1, 2, 5, 10, 20, 50, probes_for(lists))}))


async def read_exact(
    environment: Environment,
    secrets: Secrets,
    index: VectorIndex,
    search: ExactSearch,
    *,
    blocks: tuple[int, int] | None = None,
    tell: Callable[[int], None] = lambda _rows: None,
) -> None:
    """Let `search` take the rows of the table, or of a range of its blocks; `tell` hears in a thread how many it has.

    Raises:
        ActionError, ConnectError: the server refuses or breaks off.
        SecretError: the DSN cannot be resolved.
    """
    variables = await client_environment(environment, secrets, index.datname, application_name="custode probe")
    bulk = await asyncio.to_thread(Bulk, connection_parameters(variables))
    work = asyncio.get_running_loop().run_in_executor(None, partial(_read, bulk, index, search, blocks, tell))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        bulk.interrupt()
        await asyncio.wait([work])
        work.exception()
        raise
    finally:
        await asyncio.to_thread(bulk.close)


def _read(
    bulk: Bulk,
    index: VectorIndex,
    search: ExactSearch,
    blocks: tuple[int, int] | None,
    tell: Callable[[int], None],
) -> None:
    bulk.execute(_BEGIN)
    search.take(_told(bulk.copy_out(copy_query(index, blocks), "binary"), tell))
    bulk.execute("commit")


def _told(rows: Iterator[memoryview], tell: Callable[[int], None]) -> Iterator[memoryview]:
    for number, row in enumerate(rows):
        if number % _TOLD_EVERY == 0:
            tell(number)
        yield row


async def _oracle(
    connection: Connection, index: VectorIndex, pilots: Sequence[Query], own: int, allowance: Allowance
) -> int:
    """A setting at which the index finds nearly all that it can find."""
    if index.method is Method.HNSW:
        return min(MOST_EF_SEARCH, max(_ORACLE_EF_SEARCH, 4 * own))
    lists = index.options["lists"]
    probes = min(lists, max(2 * own, probes_for(lists) // 2))
    fewer = await search_many(connection, index, pilots, K, probes, allowance=allowance)
    while probes < lists and not await allowance.spent(connection):
        twice = await search_many(connection, index, pilots, K, min(lists, 2 * probes), allowance=allowance)
        found = shares(fewer.distances, twice.distances)
        if found and sum(found) / len(found) >= _ENOUGH:
            break
        probes, fewer = twice.setting, twice
    return probes


def part_blocks(blocks: int, parts: int) -> list[tuple[int, int]]:
    """Ranges of heap blocks for a pass in parts; the last one is open, as the table may grow."""
    bounds = [blocks * number // parts for number in range(parts)]
    return list(zip(bounds, [*bounds[1:], 2**32 - 1], strict=True))


def exact_or_refuse(index: VectorIndex, queries: Sequence[Query], k: int = K) -> ExactSearch:
    """Raises ActionError where there is nothing to compare, or exact answers are not computed for this type."""
    if not queries:
        raise ActionError(f"{index.quoted_table} has no rows to probe {index.indexrelname} with")
    return ExactSearch(index, queries, k)
