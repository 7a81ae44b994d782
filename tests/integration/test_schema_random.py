"""Random schemas on real servers: any order of statements is one schema, and any single change is found and undone."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import asyncpg
import pytest

from fleet.embedded import EmbeddedServer
from fleet.schema import Catalogue, compare, read_catalogue, render, suggest
from tests.integration.debian_server import DebianServer
from tests.integration.sites import AnyServer, Site
from tests.schema_changes import changes
from tests.schemas import APP, make_schema

SEEDS = range(6)


async def run(sql: asyncpg.Connection, statements: Iterable[str]) -> None:
    for statement in statements:
        await sql.execute(statement)


@pytest.mark.parametrize("seed", SEEDS)
async def test_every_single_change_is_named_and_the_suggested_sql_takes_it_back(site: Site, seed: int) -> None:
    random = Random(seed)  # noqa: S311 - which is to come again
    schema = make_schema(random, vectors=site.major == 18)
    await run(site.sql, schema.statements(random))
    wanted = await read_catalogue(site.sql)
    for change in changes(schema, random):
        await site.sql.execute(change.sql)
        actual = await read_catalogue(site.sql)
        found = compare(actual, wanted)
        told = [(one.kind, one.change, one.object) for one in found]
        assert told == [(change.kind, change.change, change.object)], f"{change.sql}\n{render(found)}"
        assert actual.fingerprint != wanted.fingerprint, change.sql
        repair = suggest(found, wanted)
        await run(site.sql, repair)
        again = await read_catalogue(site.sql)
        assert render(compare(again, wanted)) == "", (change.sql, repair)
        assert again.fingerprint == wanted.fingerprint, (change.sql, repair)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_schema_has_one_fingerprint_whatever_the_order_of_its_statements(site: Site, seed: int) -> None:
    random = Random(seed)  # noqa: S311
    schema = make_schema(random, vectors=site.major == 18)
    found = []
    for _ in range(3):
        await run(site.sql, schema.statements(random))
        found.append(await read_catalogue(site.sql))
        await run(site.sql, ["set client_min_messages = warning", f"drop schema {APP} cascade"])
        await run(site.sql, ["drop extension if exists vector"])
    assert render(compare(found[1], found[0])) == ""
    assert render(compare(found[2], found[0])) == ""
    assert len({one.fingerprint for one in found}) == 1


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_suggested_sql_makes_one_schema_another(site: Site, seed: int) -> None:
    random = Random(seed)  # noqa: S311
    vectors = site.major == 18
    schemas = [make_schema(random, vectors=vectors) for _ in range(2)]
    await run(site.sql, schemas[0].statements(random))
    wanted = await read_catalogue(site.sql)
    await run(site.sql, ["set client_min_messages = warning", f"drop schema {APP} cascade"])
    await run(site.sql, ["drop extension if exists vector"])
    await run(site.sql, schemas[1].statements(random))
    await run(site.sql, suggest(compare(await read_catalogue(site.sql), wanted), wanted))
    again = await read_catalogue(site.sql)
    assert render(compare(again, wanted)) == ""
    assert again.fingerprint == wanted.fingerprint


@pytest.mark.peer
@pytest.mark.parametrize("seed", SEEDS)
async def test_two_major_versions_agree(server: EmbeddedServer, debian: DebianServer, seed: int) -> None:
    schema = make_schema(Random(seed))  # noqa: S311
    found: list[Catalogue] = []
    servers: tuple[AnyServer, ...] = (server, debian)
    for number, one in enumerate(servers):
        admin = await asyncpg.connect(one.dsn())
        await admin.execute("create database two_orders")
        sql = await asyncpg.connect(one.dsn("two_orders"))
        await run(sql, schema.statements(Random(number)))  # noqa: S311
        found.append(await read_catalogue(sql))
        await sql.close()
        await admin.execute("drop database two_orders with (force)")
        await admin.close()
    assert render(compare(*found)) == render(compare(*reversed(found))) == ""
    # PostgreSQL 16 writes fewer qualifiers in views
    new, old = (one.without(("view:*", "materialized_view:*")) for one in found)
    assert (new.version, old.version) == (18, 15)
    assert new.fingerprint == old.fingerprint
