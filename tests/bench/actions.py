"""The action engine's figures: `python -m tests.bench.actions` (make bench-actions), with --quick on less of all.

- `alert_to_step`: from an alert that begins to fire to the first step of its action, one after another, in
  milliseconds; `parts` is where the time goes. Targets: p50 50 ms, p99 300 ms.
- `idle`: an engine with nothing to do: share of a core and statements a second. Targets: 0.01 and 12.
- `drain`: queued runs worked off; `stall_s` is the longest time between two ends.
- `ledger`: queries of the ledger, 30 of each kind; target: 50 ms for the median of the slowest kind.

Everything runs in this process against embedded servers with their real durability. The last line is one JSON object;
a `ratio_` is the figure divided by its target, so that below 1 is within.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import shutil
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from daemon.demo.fleet import temporary_directory
from tests.bench import actions_alert, actions_drain, actions_idle, actions_ledger
from tests.bench.machine import machine

Measure = Callable[[Path], Coroutine[Any, Any, dict[str, Any]]]


def parts(*, quick: bool) -> dict[str, Measure]:
    return {
        "alert_to_step": partial(actions_alert.measure, runs=30 if quick else 200),
        "idle": partial(actions_idle.measure, seconds=5.0 if quick else 30.0),
        "drain": partial(actions_drain.measure, runs=400 if quick else 10_000),
        "ledger": partial(actions_ledger.measure, rows=50_000 if quick else 1_000_000),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less of everything, for a look")
    parser.add_argument("--only", choices=list(parts(quick=True)), action="append", help="this part (again: and that)")
    arguments = parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    result: dict[str, Any] = {}
    for name, measure in parts(quick=arguments.quick).items():
        if arguments.only and name not in arguments.only:
            continue
        directory = temporary_directory()
        try:
            result[name] = asyncio.run(measure(directory))
        finally:
            shutil.rmtree(directory)
        print(json.dumps({name: result[name]}), file=sys.stderr, flush=True)
    print(json.dumps(result | {"quick": arguments.quick, "machine": machine()}))


if __name__ == "__main__":
    main()
