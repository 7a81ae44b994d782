"""The statements of a beat. All times are the server's; they are safe under READ COMMITTED, in any interleaving.

A lease changes hands only in `write_leases`, where each row is looked at again once it is locked. All lock rows of
`lease` in order of their name, so that no two wait for each other.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

LEASE_SECONDS = 6.0
FORGET_SECONDS = 30.0  # after which a silent member is removed

# a new process of the same installation need not wait for the leases of the old one: `anew`
_ARRIVE = text(f"""
    with mine as (
        insert into member (id, name, address, wanted, started_at, seen_at)
        values (:id, :name, :address, cast(:wanted as jsonb), now(), now())
        on conflict (id) do update set address = excluded.address, wanted = excluded.wanted, seen_at = now()
    ), others as (
        select id, wanted, seen_at, cast(:anew as boolean) and split_part(id, '.', 1) = :instance as replaced
        from member where id <> :id
    ), dead as (
        delete from member where id in (
            select id from member
            where id in (
                select id from others where replaced or seen_at < now() - interval '{FORGET_SECONDS} seconds'
            )
            for update skip locked
        )
    )
    select cast(extract(epoch from now() - pg_postmaster_start_time()) as float8) as uptime,
        cast((
            select jsonb_object_agg(id, wanted) from others
            where not replaced and seen_at >= now() - interval '{LEASE_SECONDS} seconds'
        ) as text) as others,
        cast((select jsonb_object_agg(environment, holder) from lease where holder is not null) as text) as holders
""")  # noqa: S608 - constants

_LEASES = text(f"""
    insert into lease as old (environment, holder, until)
    select environment, case when mine then :id end,
        case when mine then now() + interval '{LEASE_SECONDS} seconds' end
    from unnest(cast(:environments as text[]), cast(:mine as boolean[])) as one (environment, mine)
    order by environment
    on conflict (environment) do update
    set holder = excluded.holder,
        until = excluded.until,
        -- whose journal may still know the alerts better than the table does: nobody's, once it changed hands
        alerts_by = case when excluded.holder is not null and old.alerts_by = :instance then old.alerts_by end
    where old.holder = :id
        or excluded.holder is not null and (
            old.holder is null
            or cast(:inherit as boolean) and old.until < now()
            or cast(:anew as boolean) and split_part(old.holder, '.', 1) = :instance
        )
    returning environment, holder
""")  # noqa: S608 - constants

_LEAVE = text("""
    with gone as (delete from member where id = :id)
    update lease set holder = null, until = null
    where environment in (select environment from lease where holder = :id order by environment for update)
""")

_MEMBERS = text("""
    select id, name, address, cast(extract(epoch from started_at) as float8) as started_at,
        cast(extract(epoch from now() - seen_at) as float8) as silent,
        coalesce(array(
            select environment from lease where holder = member.id and until >= now() order by environment
        ), '{}') as environments
    from member order by started_at, id
""")


@dataclass(frozen=True, slots=True)
class Self:
    """Who beats: `id` is `instance`.something; `anew` at the first beat of the process."""

    id: str
    instance: str
    name: str
    address: str
    wanted: tuple[str, ...]
    anew: bool


@dataclass(frozen=True, slots=True)
class View:
    """The others that live, by what they want; who holds what; how long the server is up, in seconds."""

    others: Mapping[str, Collection[str]]
    holders: Mapping[str, str]
    uptime: float


@dataclass(frozen=True, slots=True)
class MemberView:
    """A daemon, for people: `started_at` in unix seconds, `silent` for so many seconds."""

    id: str
    name: str
    address: str
    started_at: float
    silent: float
    environments: tuple[str, ...]


async def arrive(connection: AsyncConnection, me: Self) -> View:
    """Say that we live, remove who does not, and see who else there is."""
    told = {"id": me.id, "instance": me.instance, "name": me.name, "address": me.address, "anew": me.anew}
    row = (await connection.execute(_ARRIVE, {**told, "wanted": json.dumps(me.wanted)})).one()
    return View(json.loads(row.others or "{}"), json.loads(row.holders or "{}"), row.uptime)


async def write_leases(
    connection: AsyncConnection, me: Self, *, take: Collection[str], give: Collection[str], inherit: bool
) -> frozenset[str]:
    """Renew or take the leases of `take`, give back those of `give`; returns what we hold of them now.

    `inherit` is to take what has run out as well.
    """
    wishes = sorted({**dict.fromkeys(take, True), **dict.fromkeys(give, False)}.items())
    if not wishes:
        return frozenset()
    told = {"id": me.id, "instance": me.instance, "anew": me.anew, "inherit": inherit}
    lists = {"environments": [name for name, _ in wishes], "mine": [mine for _, mine in wishes]}
    rows = await connection.execute(_LEASES, {**told, **lists})
    return frozenset(row.environment for row in rows if row.holder == me.id)


async def leave(connection: AsyncConnection, member: str) -> None:
    """Give back everything at once."""
    await connection.execute(_LEAVE, {"id": member})


async def read_members(connection: AsyncConnection) -> list[MemberView]:
    rows = await connection.execute(_MEMBERS)
    return [
        MemberView(one.id, one.name, one.address, one.started_at, one.silent, tuple(one.environments)) for one in rows
    ]
