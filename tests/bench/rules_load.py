"""The series of the rules benchmark: what a fleet of servers might say, drawn from a seed and changed at every scrape.

A hundred series an instance: 40 gauges, 40 counters, 18 buckets of a histogram, `pg_up` and `pg_info`. Gauges wander
between 0 and 1 (a few between 0 and 1000), counters grow by rates that wander between 0 and 10 a second, some stand
still and some restart; some instances are busy, slow, down or flapping. So every rule of the benchmark has work to do.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

INTERVAL = 15.0  # seconds
SERIES_AN_INSTANCE = 100
DATABASES = 10
KINDS = ("blocked", "idle", "locked", "running")
MODES = ("idle", "iowait", "sys", "user")
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, np.inf)

Floats = NDArray[np.float64]
Pairs = dict[str, str]


def label_sets(instances: int) -> Iterator[tuple[str, Pairs]]:
    """Metric name and labels of each series, in the order of the values."""
    servers = [{"instance": f"db{number:04}.example.net:5432", "job": "pg"} for number in range(instances)]
    databases = [f"app_{number}" for number in range(DATABASES)]
    for server in servers:
        yield from (("gauge", server | {"datname": one, "kind": kind}) for one in databases for kind in KINDS)
    for server in servers:
        yield from (("ctr_total", server | {"datname": one, "mode": mode}) for one in databases for mode in MODES)
    for server in servers:
        yield from (("lat_seconds_bucket", server | {"le": bound_text(bound)}) for bound in BOUNDS)
    yield from (("pg_up", server) for server in servers)
    for number, server in enumerate(servers):
        role = "replica" if number % 3 else "primary"
        yield "pg_info", server | {"version": f"{15 + number % 4}.{number % 7}", "role": role}


def bound_text(bound: float) -> str:
    return "+Inf" if np.isinf(bound) else repr(float(bound))


class Population:
    """The values of all series. `values` is changed in place by `step`; the same seed gives the same course."""

    def __init__(self, size: int, seed: int = 20_221_124) -> None:
        self.instances = instances = size // SERIES_AN_INSTANCE
        self.values = np.zeros(instances * SERIES_AN_INSTANCE)
        self._draw = draw = np.random.default_rng(seed)
        each = DATABASES * len(KINDS)
        borders = np.cumsum([instances * each, instances * each, instances * len(BOUNDS), instances])
        self._gauges, self._counters, buckets, self._up, info = np.split(self.values, borders)
        self._buckets = buckets.reshape(instances, len(BOUNDS))
        info[:] = 1.0
        self._gauges[:] = draw.random(len(self._gauges))
        self._scale = np.where(draw.random(len(self._gauges)) < 0.002, 1000.0, 1.0)
        self._gauges *= self._scale
        self._counters[:] = draw.random(len(self._counters)) * 1e6
        self._limits = self._rate_limits()
        self._rates = draw.random(len(self._counters)) * self._limits
        self._latency = draw.lognormal(-1.5, 0.8, instances)
        self._unrest = np.where(
            draw.random(instances) < 0.03, 0.5, 0.003
        )  # how probably a server changes between up and down
        self._up[:] = draw.random(instances) > 0.03

    def _rate_limits(self) -> Floats:
        """The highest rate of each counter: idle time at most 1, little of it on busy servers, some none at all."""
        limits = np.full((self.instances, DATABASES, len(MODES)), 10.0)
        limits[..., MODES.index("idle")] = np.where(self._draw.random(self.instances) < 0.03, 0.1, 1.0)[:, None]
        still = self._draw.random(limits.shape[:2]) < 0.05
        limits[..., MODES.index("iowait")][still] = 0.0
        limits[..., MODES.index("sys")][self._draw.random(limits.shape[:2]) < 0.01] = 0.001
        return limits.ravel()

    def step(self) -> Floats:
        """The values one interval later, in the same array."""
        draw, gauges, rates = self._draw, self._gauges, self._rates
        gauges += draw.normal(0.0, 0.02, len(gauges)) * self._scale
        _reflect(gauges, self._scale)
        rates += draw.normal(0.0, 0.1, len(rates)) * self._limits / 10.0
        _reflect(rates, self._limits)
        self._counters += rates * draw.uniform(0.9, 1.1, len(rates)) * INTERVAL
        self._counters[draw.random(len(rates)) < 0.0005] = 0.0
        shares = 1.0 - np.exp(-np.array(BOUNDS) / self._latency[:, None])
        requests = draw.poisson(np.diff(shares, axis=1, prepend=0.0) * 1000.0)
        self._buckets += np.cumsum(requests, axis=1)
        changed = draw.random(self.instances) < self._unrest
        self._up[changed] = 1.0 - self._up[changed]
        return self.values


def _reflect(values: Floats, limits: Floats) -> None:
    """Throw back what has left the interval from 0 to the limit."""
    np.abs(values, out=values)
    beyond = values > limits
    values[beyond] = np.maximum(2.0 * limits[beyond] - values[beyond], 0.0)


class Page:
    """The population in the text format; every reading is one step further."""

    def __init__(self, size: int) -> None:
        self.steps = 0
        self._population = Population(size)
        self._heads = [
            name + "{" + ",".join(f'{label}="{value}"' for label, value in labels.items()) + "} "
            for name, labels in label_sets(self._population.instances)
        ]

    def read(self) -> bytes:
        self.steps += 1
        values = self._population.step().tolist()
        return "".join([f"{head}{value!r}\n" for head, value in zip(self._heads, values, strict=True)]).encode()
