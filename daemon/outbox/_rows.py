"""Notices as rows. All times are the server's; several daemons may work on them at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.outbox._notice import Notice

CLAIM_SECONDS = 45.0  # longer than a sending may take: whoever holds it then has died
GIVE_UP_SECONDS = 86_400.0
KEEP_SECONDS = 7 * 86_400.0
_LONGEST_KEY = 500  # bytes: an index has no room for all

_INSERT = text("""
    insert into outbox as old (key, notifier, thread, message, created_at, slot, sent_at, reference, dead_at, error)
    select key, notifier, thread, cast(message as jsonb), to_timestamp(at), slot,
        case when reference is not null then now() end, reference, case when error is not null then now() end, error
    from unnest(
        cast(:keys as text[]), cast(:notifiers as text[]), cast(:threads as text[]), cast(:messages as text[]),
        cast(:ats as float8[]), cast(:slots as text[]), cast(:references as text[]), cast(:errors as text[])
    ) with ordinality as new (key, notifier, thread, message, at, slot, reference, error, number)
    order by number
    -- what was written in a commit of which nobody heard, and sent from memory since
    on conflict (key, notifier) do update
    set sent_at = excluded.sent_at, reference = excluded.reference, dead_at = excluded.dead_at, error = excluded.error
    where (excluded.sent_at is not null or excluded.dead_at is not null)
        and old.sent_at is null and old.dead_at is null
""")

_OPEN = "sent_at is null and dead_at is null"
_PASS_OVER = text(f"""
    update outbox set sent_at = now(), error = 'outdated: a newer one was sent instead'
    where id in (
        select id from outbox as old
        where notifier = :notifier and slot is not null and {_OPEN} and (claim is null or not_before <= now())
            and exists (
                select from outbox as new
                where new.notifier = old.notifier and new.thread = old.thread and new.slot = old.slot
                    and new.id > old.id and new.sent_at is null and new.dead_at is null
            )
        for update skip locked
    )
""")  # noqa: S608 - constants
# the first open row of each thread; who holds it, holds the thread
_CLAIM = text(f"""
    update outbox
    set claim = :claim, attempts = attempts + 1, not_before = now() + interval '{CLAIM_SECONDS} seconds'
    where id in (
        select id from outbox as next
        where notifier = :notifier and {_OPEN} and (not_before is null or not_before <= now())
            and not exists (
                select from outbox as before
                where before.notifier = next.notifier and before.thread = next.thread and before.id < next.id
                    and before.sent_at is null and before.dead_at is null
            )
        order by id limit :limit
        for update skip locked
    )
    returning id, key, thread, cast(message as text) as message, slot, attempts,
        cast(extract(epoch from created_at) as float8) as at
""")  # noqa: S608 - constants
_SENT = text(
    "update outbox set sent_at = now(), claim = null, reference = :reference where id = :id and claim = :claim"
)
_LATER = text("""
    update outbox set claim = null, error = :error, not_before = now() + make_interval(secs => :wait)
    where id = :id and claim = :claim
""")
_DEAD = text("update outbox set dead_at = now(), claim = null, error = :error where id = :id and claim = :claim")
_RELEASE = text("update outbox set claim = null, not_before = null where claim = :claim")
_DUE = text(f"""
    select exists (
        select from outbox where notifier = any(cast(:notifiers as text[])) and {_OPEN}
            and (not_before is null or not_before <= now())
    )
""")  # noqa: S608 - constants
_GIVE_UP = text(f"""
    update outbox set dead_at = now(), error = coalesce(error || ', ', '') || 'not sent within a day'
    where {_OPEN} and created_at < now() - interval '{GIVE_UP_SECONDS} seconds'
        and (claim is null or not_before <= now())
    returning notifier
""")  # noqa: S608 - constants
_FORGET = text(f"""
    delete from outbox where created_at < now() - interval '{KEEP_SECONDS} seconds' and not ({_OPEN})
""")  # noqa: S608 - constants
_STANDING = text(f"""
    select notifier, count(*) filter (where {_OPEN}) as waiting, count(dead_at) as dead,
        cast(extract(epoch from min(created_at) filter (where {_OPEN})) as float8) as oldest
    from outbox where {_OPEN} or dead_at is not null group by notifier
""")  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Claimed:
    """A notice that is ours to send, for the `attempts`-th time."""

    notice: Notice
    attempts: int
    id: int
    claim: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Of one notifier: how many wait, the `oldest` since (unix seconds), and how many are dead letters of this week."""

    waiting: int = 0
    dead: int = 0
    oldest: float | None = None


async def insert(connection: AsyncConnection, written: Iterable[tuple[Notice, str | None, str | None]]) -> None:
    """Write notices down, in this order; what was sent already with its reference, what never will be with the error.

    No two may have the same key.
    """
    rows = list(written)
    lists = {
        "keys": [short(notice.key) for notice, _, _ in rows],
        "notifiers": [notice.to for notice, _, _ in rows],
        "threads": [short(notice.thread) for notice, _, _ in rows],
        "messages": [_storable(json.dumps(notice.payload, ensure_ascii=False)) for notice, _, _ in rows],
        "ats": [notice.at for notice, _, _ in rows],
        "slots": [None if notice.slot is None else short(notice.slot) for notice, _, _ in rows],
        "references": [None if sent is None else _plain(sent) for _, sent, _ in rows],
        "errors": [None if error is None else _plain(error) for _, _, error in rows],
    }
    await connection.execute(_INSERT, lists)


async def claim(connection: AsyncConnection, notifier: str, claim: str, limit: int) -> list[Claimed]:
    """Up to `limit` notices whose turn it is, each of another thread, the oldest first."""
    await connection.execute(_PASS_OVER, {"notifier": notifier})
    rows = (await connection.execute(_CLAIM, {"notifier": notifier, "claim": claim, "limit": limit})).all()
    return [
        Claimed(
            Notice(notifier, row.thread, row.key, json.loads(row.message), row.at, row.slot),
            row.attempts,
            row.id,
            claim,
        )
        for row in sorted(rows, key=lambda row: int(row.id))
    ]


async def note_sent(connection: AsyncConnection, claimed: Claimed, reference: str) -> None:
    await connection.execute(_SENT, {"id": claimed.id, "claim": claimed.claim, "reference": _plain(reference)})


async def put_off(connection: AsyncConnection, claimed: Claimed, error: str, wait: float) -> None:
    """Try again after so many seconds."""
    said = {"id": claimed.id, "claim": claimed.claim, "error": _plain(error), "wait": wait}
    await connection.execute(_LATER, said)


async def bury(connection: AsyncConnection, claimed: Claimed, error: str) -> None:
    """It will never go."""
    await connection.execute(_DEAD, {"id": claimed.id, "claim": claimed.claim, "error": _plain(error)})


async def release(connection: AsyncConnection, claim: str) -> None:
    """Give back what is claimed and was not sent."""
    await connection.execute(_RELEASE, {"claim": claim})


async def any_due(connection: AsyncConnection, notifiers: list[str]) -> bool:
    """Whether a notice waits for nothing but its turn."""
    return bool(await connection.scalar(_DUE, {"notifiers": notifiers}))


async def sweep(connection: AsyncConnection) -> tuple[list[str], Mapping[str, Waiting]]:
    """Give up what has waited for a day, forget what is a week old; the notifiers given up for, and how all stand."""
    given_up = [row.notifier for row in await connection.execute(_GIVE_UP)]
    await connection.execute(_FORGET)
    rows = await connection.execute(_STANDING)
    return given_up, {row.notifier: Waiting(row.waiting, row.dead, row.oldest) for row in rows}


def short(name: str) -> str:
    """A name that an index has room for, the same for the same one."""
    plain = _plain(name)
    whole = plain.encode()
    if len(whole) <= _LONGEST_KEY:
        return plain
    return f"{whole[: _LONGEST_KEY // 2].decode(errors='ignore')}#{hashlib.sha256(whole).hexdigest()}"


def _storable(written: str) -> str:
    """JSON that PostgreSQL takes: it knows no lone surrogates and no NUL."""
    return written.encode("utf-8", "replace").decode().replace("\\u0000", "\\ufffd")


def _plain(said: str) -> str:
    return said.encode("utf-8", "replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")
