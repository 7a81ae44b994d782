"""Our rule engine on the series of the rules benchmark, in virtual time. To be run in a process of its own."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil

from rules import Dialect, Labels, RuleEngine, SampleStore, load_files
from rules.alerts import ACTIVE
from rules.store import is_sample
from tests.bench.rules_load import INTERVAL, Population, label_sets

BEGIN = 1_700_000_000.0
HISTORY = 64  # steps before anything is measured: alerts that ended are remembered for fifteen minutes
EVALUATIONS = 24
SOURCE = "bench/all"
Counts = dict[str, dict[str, float]]  # by rule: how many alerts by state, or how many series and their sum


class Ours:
    """The daemon's store and engine, fed as the daemon feeds them: label sets are known, values are new."""

    def __init__(self, file: Path, size: int, dialect: Dialect) -> None:
        self._population = Population(size)
        self._labels = [Labels({"__name__": name, **labels}) for name, labels in label_sets(self._population.instances)]
        self.store = SampleStore()
        self.engine = RuleEngine(self.store, load_files([file], interval=INTERVAL, dialect=dialect))

    def land(self, at: float) -> float:
        """Land the next step's batch; returns CPU seconds."""
        series = list(zip(self._labels, self._population.step().tolist(), strict=True))
        began = time.process_time()
        self.store.land(SOURCE, at, series)
        return time.process_time() - began

    def evaluate(self, at: float) -> tuple[float, float]:
        """Evaluate the group; returns CPU and wall seconds."""
        cpu, wall = time.process_time(), time.perf_counter()
        self.engine.evaluate_all(at)
        used = time.process_time() - cpu, time.perf_counter() - wall
        self.engine.take_unsaved()  # what the daemon writes into its journal
        return used

    def counts(self, at: float) -> Counts:
        """What became of each rule at the time of the last evaluation."""
        found: Counts = {}
        for group in self.engine.groups():
            for rule, alerts in group.rules:
                assert rule.last_error is None, (rule.name, rule.last_error)
                states = Counter(str(alert.state) for alert in alerts if alert.state in ACTIVE)
                found[rule.name] = {state: float(count) for state, count in states.items()}
                if rule.kind == "record":
                    found[rule.name] = self._recorded(rule.name, at)
        return found

    def _recorded(self, name: str, at: float) -> dict[str, float]:
        metric = self.store.metric(name)
        rows = [block.at(at) for block in metric.blocks.values()] if metric else []
        values = [value for row in rows if row is not None for value in row[1][is_sample(row[1])].tolist()]
        return {"series": float(len(values)), "sum": math.fsum(values)} if values else {}


def measure(file: Path, size: int) -> dict[str, float]:
    """What a steady group evaluation costs: medians in seconds, resident memory in MB."""
    ours = Ours(file, size, Dialect())
    ours.land(BEGIN)
    cold = ours.evaluate(BEGIN + 5.0)[0]
    gc.collect()
    gc.freeze()  # both as the daemon does once it is ready
    gc.set_threshold(50_000, 20, 100)
    landings, evaluations = [], []
    for step in range(1, HISTORY + EVALUATIONS):
        at = BEGIN + step * INTERVAL
        landed, evaluated = ours.land(at), ours.evaluate(at + 5.0)
        if step >= HISTORY:
            landings.append(landed)
            evaluations.append(evaluated)
    return {
        "ours_cpu_seconds": statistics.median(cpu for cpu, _ in evaluations),
        "ours_wall_seconds": statistics.median(wall for _, wall in evaluations),
        "ours_wall_max_seconds": max(wall for _, wall in evaluations),
        "ours_land_cpu_seconds": statistics.median(landings),
        "ours_cold_seconds": cold,
        "ours_rss_mb": psutil.Process().memory_info().rss / 2**20,
    }


def replay(file: Path, size: int, landings: Sequence[float], evaluations: Sequence[float]) -> Counts:
    """Land the same steps and evaluate at the same times as Prometheus 2 did, up to the last evaluation."""
    ours = Ours(file, size, Dialect(compat=2))
    # of a scrape and an evaluation at one time, the evaluation cannot have seen the scrape
    events = sorted([(at, "land") for at in landings] + [(at, "evaluate") for at in evaluations])
    for at, event in events:
        if at <= evaluations[-1]:
            ours.land(at) if event == "land" else ours.evaluate(at)
    return ours.counts(evaluations[-1])
