"""What a migration will lock, and about how long: from its statements and the sizes of the tables.

The modes of the locks are those of PostgreSQL's documentation ("Explicit Locking", ALTER TABLE, CREATE INDEX). A lock
is held to the end of its transaction, so that what follows in it counts too. The speeds are those of a small server
with cold caches, on the slow side; the HNSW one is of 1,536 dimensions that fit into maintenance_work_mem.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from fleet.migrating.harmless import is_harmless
from fleet.migrating.statements import Statement

MB = 1e6
_SCAN, _REWRITE, _SORT, _GIN = 200 * MB, 40 * MB, 40 * MB, 10 * MB  # bytes a second
_HNSW_ROWS, _IVFFLAT_ROWS, _WRITTEN_ROWS = 250.0, 4000.0, 20_000.0  # rows a second
_CONCURRENTLY = 2.5  # times as long: two scans, and it waits for transactions
_INSTANT = 0.05
_INDEX_SHARE = 0.3  # of the table's bytes; a vector index takes as much as the vectors

_NAME = r'(?:(?:"(?:[^"]|"")+"|[\w$]+)\.)?(?:"(?:[^"]|"")+"|[\w$]+)'
_INDEX = re.compile(
    rf"^create\s+(?:unique\s+)?index\s+(?P<concurrently>concurrently\s+)?(?:if\s+not\s+exists\s+)?"
    rf"(?:(?P<index>{_NAME})\s+)?on\s+(?:only\s+)?(?P<table>{_NAME})(?:\s+using\s+(?P<method>\w+))?",
    re.IGNORECASE,
)
_ALTER = re.compile(
    rf"^alter\s+table\s+(?:if\s+exists\s+)?(?:only\s+)?(?P<table>{_NAME})\s+(?P<what>.*)$", re.IGNORECASE | re.DOTALL
)
_WRITES = re.compile(rf"^(?:update\s+(?:only\s+)?|delete\s+from\s+(?:only\s+)?)(?P<table>{_NAME})", re.IGNORECASE)
_DROPS = re.compile(
    rf"^(?:drop\s+table|truncate(?:\s+table)?|(?:(?:alter|drop)\s+trigger|(?:create|alter|drop)\s+policy)"
    rf"\s+(?:if\s+exists\s+)?{_NAME}\s+on)\s+(?:if\s+exists\s+)?(?P<table>{_NAME})",
    re.IGNORECASE,
)
_DROP_INDEX = re.compile(r"^drop\s+index\s+(?P<concurrently>concurrently\s+)?", re.IGNORECASE)
_REFRESH = re.compile(
    rf"^refresh\s+materialized\s+view\s+(?P<concurrently>concurrently\s+)?(?P<table>{_NAME})", re.IGNORECASE
)
_TRIGGER = re.compile(
    rf"^create\s+(?:or\s+replace\s+)?(?:constraint\s+)?trigger\s+{_NAME}\s.*?\bon\s+(?P<table>{_NAME})",
    re.IGNORECASE | re.DOTALL,
)
_LOCK = re.compile(
    rf"^lock\s+(?:table\s+)?(?:only\s+)?(?P<table>{_NAME})(?:.*?\bin\s+(?P<mode>[a-z\s]+?)\s+mode\b)?",
    re.IGNORECASE | re.DOTALL,
)
_CLUSTER = re.compile(
    rf"^cluster\s+(?:verbose\s+|\([^)]*\)\s*)?(?!verbose\b)(?P<table>{_NAME})(?:\s+using\s+{_NAME})?$", re.IGNORECASE
)
# of ALTER TABLE: what reads or writes all of the table (the first that is found counts)
_REWRITES = re.compile(
    r"\balter\s+(?:column\s+)?\S+\s+(?:set\s+data\s+)?type\b|\bset\s+(?:logged|unlogged|tablespace)\b"
    r"|\badd\s+(?:column\s+)?.*(?:\bgenerated\s+always\s+as\s*\(|\bgenerated\s+\w+(?:\s+default)?\s+as\s+identity"
    r"|\b(?:big|small)?serial\b|\bdefault\s+(?:gen_random_uuid|uuid_generate|random|clock_timestamp|nextval)\b)",
    re.IGNORECASE | re.DOTALL,
)
_KEY = re.compile(r"\b(?:primary\s+key|unique|exclude)\b(?!\s+using\s+index)", re.IGNORECASE)
_FOREIGN = re.compile(r"\b(?:foreign\s+key|references)\b", re.IGNORECASE)
_SCANS = re.compile(
    r"\bset\s+not\s+null\b|\bcheck\s*\(|\bvalidate\s+constraint\b|\battach\s+partition\b", re.IGNORECASE
)
_NOT_VALID = re.compile(r"\bnot\s+valid\b", re.IGNORECASE)
_WEAK = frozenset({"ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE"})  # let others write
_VALIDATE = re.compile(r"^validate\s+constraint\b", re.IGNORECASE)


class Blocks(Enum):
    """Whom a statement holds up while it has its lock."""

    NOBODY = "nobody"
    WRITES = "writes"
    EVERYBODY = "reads and writes"


@dataclass(frozen=True, slots=True)
class Size:
    """Of a table: bytes with TOAST, bytes of its indexes, rows by the planner's count."""

    bytes: float = 0.0
    index_bytes: float = 0.0
    rows: float = 0.0


Sizes = Mapping[str, Size]  # by the table's name as the statement writes it; those that are not there yet are left out


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of one statement: `lock` is its mode, None where it cannot be told; `seconds` its own, `held` how long whom it
    blocks has to wait: until the end of its transaction. `disk_bytes` is the room that it takes, roughly."""

    statement: Statement
    table: str
    lock: str | None
    blocks: Blocks
    seconds: float
    held: float = 0.0
    disk_bytes: float = 0.0

    def __str__(self) -> str:
        if self.lock is None:
            return "what it locks cannot be told beforehand"
        on = f" on {self.table}" if self.table else ""
        if self.blocks is Blocks.NOBODY:
            return f"about {_words(self.seconds)}, {self.lock}{on}: nobody waits for it"
        return f"{self.lock}{on}: {self.blocks.value} wait about {_words(self.held)}"


def forecast(statements: Sequence[Statement], sizes: Sizes) -> list[Estimate]:
    """An estimate for each statement, in order."""
    alone = [_estimate(one, sizes) for one in statements]
    found = []
    for number, one in enumerate(alone):
        inside = one.statement.transaction
        rest = [each.seconds for each in alone[number:] if each.statement.transaction == inside]
        held = 0.0 if one.blocks is Blocks.NOBODY else one.seconds if inside is None else sum(rest)
        found.append(replace(one, held=held))
    return found


def table_names(statements: Iterable[Statement]) -> set[str]:
    """The tables whose sizes `forecast` asks for, as the statements write them."""
    return {one.table for one in (_estimate(each, {}) for each in statements) if one.table}


def concurrent_indexes(statements: Iterable[Statement]) -> list[str]:
    """Names, as written, of the indexes that are built concurrently: a failed build leaves them, invalid."""
    matches = (_INDEX.match(one.text) for one in statements)
    return [match["index"] for match in matches if match and match["concurrently"] and match["index"]]


def runs_concurrently(statements: Iterable[Statement]) -> bool:
    """Whether something waits for other transactions, which lock_timeout would end for nothing."""
    return any(re.search(r"^\w+(?:\s+\w+)*?\s+concurrently\b", one.text, re.IGNORECASE) for one in statements)


def _estimate(one: Statement, sizes: Sizes) -> Estimate:
    for pattern, judge in _JUDGES:
        if match := pattern.match(one.text):
            return judge(one, match, sizes)
    lock = "no lock that others wait for" if is_harmless(one.text) else None
    return Estimate(one, "", lock, Blocks.NOBODY, _INSTANT)


def _write(one: Statement, match: re.Match[str], sizes: Sizes) -> Estimate:
    size = sizes.get(match["table"], Size())
    seconds = max(_INSTANT, size.rows / _WRITTEN_ROWS)
    return Estimate(one, match["table"], "ROW EXCLUSIVE", Blocks.NOBODY, seconds)


def _drop(one: Statement, match: re.Match[str], _sizes: Sizes) -> Estimate:
    return Estimate(one, match["table"], "ACCESS EXCLUSIVE", Blocks.EVERYBODY, _INSTANT)


def _drop_index(one: Statement, match: re.Match[str], _sizes: Sizes) -> Estimate:
    if match["concurrently"]:
        return Estimate(one, "", "SHARE UPDATE EXCLUSIVE", Blocks.NOBODY, _INSTANT)
    return Estimate(one, "", "ACCESS EXCLUSIVE", Blocks.EVERYBODY, _INSTANT)


def _refresh(one: Statement, match: re.Match[str], sizes: Sizes) -> Estimate:
    seconds = max(_INSTANT, sizes.get(match["table"], Size()).bytes / _REWRITE)
    if match["concurrently"]:
        return Estimate(one, match["table"], "EXCLUSIVE", Blocks.WRITES, seconds)
    return Estimate(one, match["table"], "ACCESS EXCLUSIVE", Blocks.EVERYBODY, seconds)


def _trigger(one: Statement, match: re.Match[str], _sizes: Sizes) -> Estimate:
    return Estimate(one, match["table"], "SHARE ROW EXCLUSIVE", Blocks.WRITES, _INSTANT)


def _lock(one: Statement, match: re.Match[str], _sizes: Sizes) -> Estimate:
    mode = " ".join((match["mode"] or "access exclusive").upper().split())
    blocks = Blocks.EVERYBODY if mode == "ACCESS EXCLUSIVE" else Blocks.NOBODY if mode in _WEAK else Blocks.WRITES
    return Estimate(one, match["table"], mode, blocks, _INSTANT)


def _cluster(one: Statement, match: re.Match[str], sizes: Sizes) -> Estimate:
    size = sizes.get(match["table"], Size())
    room = size.bytes + size.index_bytes
    seconds = max(_INSTANT, room / _REWRITE)
    return Estimate(one, match["table"], "ACCESS EXCLUSIVE", Blocks.EVERYBODY, seconds, disk_bytes=room)


def _index(one: Statement, match: re.Match[str], sizes: Sizes) -> Estimate:
    size = sizes.get(match["table"], Size())
    method = (match["method"] or "btree").lower()
    seconds = {"hnsw": size.rows / _HNSW_ROWS, "ivfflat": size.rows / _IVFFLAT_ROWS, "gin": size.bytes / _GIN}.get(
        method, size.bytes / _SORT
    )
    room = size.bytes * (1.0 if method in ("hnsw", "ivfflat") else _INDEX_SHARE)
    if match["concurrently"]:
        seconds = max(_INSTANT, seconds * _CONCURRENTLY)
        return Estimate(one, match["table"], "SHARE UPDATE EXCLUSIVE", Blocks.NOBODY, seconds, disk_bytes=room)
    return Estimate(one, match["table"], "SHARE", Blocks.WRITES, max(_INSTANT, seconds), disk_bytes=room)


def _alter(one: Statement, match: re.Match[str], sizes: Sizes) -> Estimate:
    table, what = match["table"], match["what"]
    size = sizes.get(table, Size())
    everybody = ("ACCESS EXCLUSIVE", Blocks.EVERYBODY)
    adds_column = re.match(
        r"add\s+(?:column\b|(?!constraint\b|primary\b|unique\b|check\b|foreign\b|exclude\b))", what, re.IGNORECASE
    )
    room = 0.0
    if _VALIDATE.match(what):
        lock, blocks, seconds = "SHARE UPDATE EXCLUSIVE", Blocks.NOBODY, size.bytes / _SCAN
    elif _REWRITES.search(what):
        room = size.bytes + size.index_bytes
        lock, blocks, seconds = *everybody, room / _REWRITE
    elif _FOREIGN.search(what) and not adds_column:
        lock, blocks = "SHARE ROW EXCLUSIVE", Blocks.WRITES
        seconds = 0.0 if _NOT_VALID.search(what) else size.bytes / _SCAN
    elif _KEY.search(what) and re.match(r"add\b", what, re.IGNORECASE):
        lock, blocks, seconds = *everybody, size.bytes / _SORT
    elif _SCANS.search(what) and not _NOT_VALID.search(what) and not what.lower().startswith("drop"):
        lock, blocks, seconds = *everybody, size.bytes / _SCAN
    else:
        lock, blocks, seconds = *everybody, 0.0
    return Estimate(one, table, lock, blocks, max(_INSTANT, seconds), disk_bytes=room)


_JUDGES: tuple[tuple[re.Pattern[str], Callable[[Statement, re.Match[str], Sizes], Estimate]], ...] = (
    (_INDEX, _index),
    (_ALTER, _alter),
    (_WRITES, _write),
    (_DROPS, _drop),
    (_DROP_INDEX, _drop_index),
    (_REFRESH, _refresh),
    (_TRIGGER, _trigger),
    (_LOCK, _lock),
    (_CLUSTER, _cluster),
)


def _words(seconds: float) -> str:
    if seconds < 1:
        return "no time"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
