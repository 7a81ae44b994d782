"""The rule engine against Debian's Prometheus: `python -m tests.bench.rules` (make bench-rules).

Thirty rules on 10,000 and 100,000 series, all of which change at every scrape, each 15 s. Prometheus scrapes them from
a page, first without rules, then with them; our engine gets the same series in a process of its own, in virtual time,
after Prometheus has ended. The last line is one JSON object. For each size:

- `prometheus_cpu_seconds`: CPU time of the process with rules, less what it takes without rules in the same time, by
  the number of group evaluations it did meanwhile; `_with_scrape_` is that and a scrape. `prometheus_wall_seconds` is
  the median of its prometheus_rule_group_last_duration_seconds, `prometheus_rss_mb` its memory at the end,
  `prometheus_evaluations_missed_ratio` the part of the evaluations that it did not get to on a busy machine;
- `ours_cpu_seconds`, `ours_wall_seconds`: medians of a group evaluation in a steady state, which comes after fifteen
  minutes, when the first alerts that ended are forgotten;
  `ours_land_cpu_seconds` what it costs to land a batch, `ours_cold_seconds` CPU time of the very first evaluation, with
  all label work, `ours_rss_mb` memory at the end, with the label sets;
- `ratio`: prometheus_cpu_seconds by ours_cpu_seconds; `ratio_with_scrape`: all that Prometheus needs by our landing and
  evaluation together, which leaves out what our collectors cost;
- `agree`: of how many rules the results are equal when our engine (promql_compat: 2) gets the same values at the very
  times at which Prometheus scraped and evaluated: how many alerts are pending and firing, or how many series are
  recorded, and their sum.

`ratio` at the top is that of the largest size.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tests.bench import rules_ours, rules_peer
from tests.bench.machine import machine
from tests.bench.rules_ours import Counts

RULES = Path(__file__).parents[3] / "shared" / "bench" / "rules30.yml"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def apart(work: Any, *args: Any) -> Any:
    """In a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *args).result()


def equal(one: dict[str, float], other: dict[str, float]) -> bool:
    return one.keys() == other.keys() and all(math.isclose(one[name], other[name], rel_tol=1e-9) for name in one)


def differences(theirs: Counts, ours: Counts) -> dict[str, Any]:
    return {
        name: {"prometheus": found, "ours": ours.get(name)}
        for name, found in theirs.items()
        if not equal(found, ours.get(name, {}))
    }


def compare(rules: Path, size: int, minutes: float) -> dict[str, Any]:
    say(f"{size:,} series: Prometheus, {minutes:g} minutes")
    with tempfile.TemporaryDirectory(prefix="custode-bench-") as directory:
        peer = rules_peer.run(Path(directory), rules, size, minutes, say)
    say(f"{size:,} series: ours")
    figures: dict[str, float] = apart(rules_ours.measure, rules, size) | peer.figures
    found = apart(rules_ours.replay, rules, size, peer.landings, peer.evaluations)
    different = differences(peer.counts, found)
    figures["ratio"] = figures["prometheus_cpu_seconds"] / figures["ours_cpu_seconds"]
    ours = figures["ours_cpu_seconds"] + figures["ours_land_cpu_seconds"]
    figures["ratio_with_scrape"] = figures["prometheus_cpu_with_scrape_seconds"] / ours
    return {name: round(value, 4) for name, value in figures.items()} | {
        "agree": len(peer.counts) - len(different),
        "rules": len(peer.counts),
        "evaluations": len(peer.evaluations),
        "mismatches": different,
        "results": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0, help="how long Prometheus runs, for each size")
    parser.add_argument("--series", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--rules", type=Path, default=RULES)
    arguments = parser.parse_args()
    if not arguments.rules.exists():
        sys.exit(f"{arguments.rules} is not there: name a rule file for these series with --rules")
    if not rules_peer.PROMETHEUS.exists():
        sys.exit(f"{rules_peer.PROMETHEUS} is not there: apt-get install --no-install-recommends prometheus")
    sizes = {str(size): compare(arguments.rules, size, arguments.minutes) for size in arguments.series}
    largest = sizes[str(max(arguments.series))]
    print(json.dumps({"ratio": largest["ratio"], "series": sizes, "machine": machine()}))


if __name__ == "__main__":
    main()
