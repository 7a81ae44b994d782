"""Every filter of the ledger over a million rows of two years.

The rows are spread as daemons would write them: eight entries a run in order of time, environments from very busy to
nearly unused, some actions on some environments only, few entries by people, very few escalations. Each case asks 30
times, with changing values; `max_median_ms` is the median of the slowest case.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from daemon import clock
from daemon.actions.ledger import Ledger
from daemon.actions.views import LedgerFilter
from daemon.state import StateDatabase
from fleet.secrets import Secrets

ROUNDS = 30
TARGET_MS = 50.0
SPAN = 2 * 365 * 86400.0  # seconds that the rows tell of
_FILL = """
insert into ledger (uid, at, entry, run_id, environment, action, person, facts)
select md5(i::text), to_timestamp($2 - $3::float8 * (1 - i::float8 / $1)), entry,
    case when entry <> 'switch' then left(md5('run' || run), 12) end,
    case when entry <> 'switch' then format('env-%s', lpad(environment::text, 2, '0')) end,
    case when entry <> 'switch' then format('action-%s', lpad(action::text, 2, '0')) end,
    case when entry in ('answer', 'control', 'switch') or i % 8 = 0 and chance < 0.03
        then format('person-%s', floor(8 * chance2 ^ 2)) end,
    jsonb_build_object('name', 'step of ' || run, 'seconds', chance, 'reason', repeat('because ', 1 + i % 20))
from (
    select i, run, chance, chance2, environment,
        -- two environments share no action with the others
        case when environment < 2 then floor(6 * h3) else 6 + floor(6 * h3) end::int as action,
        case when i % 8 < 7
            then (array['requested', 'plan', 'guard', 'step', 'step', 'verdict', 'outcome'])[1 + i % 8]
            else case when chance < 0.3 then 'asked' when chance < 0.6 then 'answer' when chance < 0.7 then 'taken_over'
                when chance < 0.75 then 'undo' when chance < 0.8 then 'control' when chance < 0.802 then 'switch'
                when chance < 0.805 and environment > 0 then 'escalated' else 'step' end
        end as entry
    from (
        select i, i / 8 as run, h(i / 8, 3) as h3, h(i, 1) as chance, h(i, 2) as chance2,
            floor(20 * h(i / 8, 4) ^ 3)::int as environment
        from generate_series(1, $1::int) i
    ) drawn
) row
"""
# a number from 0 to 1 that is always the same for the same arguments
_HASH = """
create function h(i int, salt int) returns float8 language sql immutable
return (hashint8extended(i, salt) & 1073741823)::float8 / 1073741824
"""


async def fill(state: StateDatabase, rows: int, now: float) -> None:
    session = await state.connect()
    await session.execute("set statement_timeout = 0; set lock_timeout = 0")
    await session.execute(_HASH)
    began = time.perf_counter()
    await session.execute(_FILL, rows, now, SPAN, timeout=1800)
    await session.execute("vacuum analyze ledger", timeout=600)
    print(f"ledger: {rows} rows in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    await session.close()


def cases(rows: int, now: float, runs: list[str]) -> Mapping[str, Callable[[int], LedgerFilter]]:
    """By name; each is asked with 0, 1, 2, ..."""
    wanted = LedgerFilter
    entries = (
        "requested",
        "plan",
        "guard",
        "step",
        "verdict",
        "outcome",
        "asked",
        "answer",
        "undo",
        "escalated",
        "switch",
    )

    def env(n: int) -> str:
        return f"env-{n % 20:02}"

    def ago(n: int) -> float:
        return now - 60.0 * float(1 << 2 * (n % 10))  # from a minute to half a year

    def middle(n: int) -> int:
        return rows // 2 + 37 * n

    return {
        "newest": lambda _: wanted(),
        "run": lambda n: wanted(run_id=runs[n]),
        "environment": lambda n: wanted(environment=env(n)),
        "environment unknown": lambda n: wanted(environment=f"env-unknown-{n}"),
        "action": lambda n: wanted(action=f"action-{n % 12:02}"),
        "person": lambda n: wanted(person=f"person-{n % 8}"),
        "entry": lambda n: wanted(entry=entries[n % len(entries)]),
        "since": lambda n: wanted(since=ago(n)),
        "since a minute": lambda n: wanted(since=now - 60.0 - n),
        "since tomorrow": lambda _: wanted(since=now + 86400.0),
        "before": lambda n: wanted(before=middle(n)),
        "before the first": lambda n: wanted(before=50 + n),
        "environment before": lambda n: wanted(environment=env(n), before=middle(n)),
        "environment since": lambda n: wanted(environment=env(n), since=ago(n)),
        "entry since": lambda n: wanted(entry=entries[n % len(entries)], since=ago(n)),
        "person since": lambda n: wanted(person=f"person-{n % 8}", since=ago(n)),
        "since before": lambda n: wanted(since=ago(n), before=middle(n)),
        "environment entry": lambda n: wanted(environment=env(n), entry=entries[n % len(entries)]),
        "environment entry few": lambda n: wanted(environment=env(n), entry="escalated"),
        "environment entry none": lambda _: wanted(environment="env-00", entry="escalated"),
        "environment action none": lambda n: wanted(environment="env-00", action=f"action-{6 + n % 6:02}"),
        "action entry": lambda n: wanted(action=f"action-{n % 12:02}", entry=entries[n % len(entries)]),
        "person entry": lambda n: wanted(person=f"person-{n % 8}", entry=("answer", "plan")[n % 2]),
        "person environment": lambda n: wanted(person=f"person-{n % 8}", environment=env(n)),
        "person none": lambda _: wanted(person="nobody", environment="env-00"),
        "environment action entry before": lambda n: wanted(
            environment=env(n), action=f"action-{n % 12:02}", entry="undo", before=middle(n)
        ),
        "a thousand": lambda n: wanted(environment=env(n), limit=1000),
    }


async def measure(directory: Path, rows: int) -> dict[str, Any]:
    data_dir = directory / "ledger"
    data_dir.mkdir(mode=0o755)
    state = StateDatabase(None, data_dir, Secrets(time.monotonic))
    await state.open()
    try:
        now = clock.now()
        await fill(state, rows, now)
        async with state.begin() as connection:
            query = f"select run_id from ledger where run_id is not null and id % {rows // 64} = 1"
            runs = [row[0] for row in await connection.exec_driver_sql(query)]
        ledger = Ledger(state, data_dir, clock.now)
        spent = {name: await ask(ledger, case) for name, case in cases(rows, now, runs).items()}
    finally:
        await state.close()
    medians = {name: round(1000 * statistics.median(times), 2) for name, times in spent.items()}
    for name, median in sorted(medians.items(), key=lambda item: -item[1]):
        print(f"ledger: {median:8.2f} ms, at most {1000 * max(spent[name]):8.2f}  {name}", file=sys.stderr)
    worst = max(medians, key=medians.__getitem__)
    return {
        "rows": rows,
        "max_median_ms": medians[worst],
        "slowest": worst,
        "max_ms": round(1000 * max(map(max, spent.values())), 2),
        "ratio_max_median_ms": round(medians[worst] / TARGET_MS, 3),
        "medians_ms": medians,
    }


async def ask(ledger: Ledger, case: Callable[[int], LedgerFilter]) -> list[float]:
    times = []
    for number in range(ROUNDS):
        wanted = case(number)
        began = time.perf_counter()
        await ledger.entries(wanted)
        times.append(time.perf_counter() - began)
    return times
