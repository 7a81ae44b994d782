"""Which series there are: what Prometheus answers at /api/v1/series, /labels and /label/<name>/values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import compress

import numpy as np
from promql_parser import VectorSelector

from rules.errors import QueryError
from rules.labels import Labels
from rules.promql.evaluation import Dialect
from rules.promql.matchers import Matchers
from rules.promql.parse import parse
from rules.store import Block, Bools, SampleStore, is_sample

_AT_ONCE = 256  # series looked at between two yields
_PROMETHEUS_3 = Dialect()


def selector(text: str, dialect: Dialect = _PROMETHEUS_3) -> Matchers:
    """What a series selector such as `up{job="a"}` asks for. Raises QueryError for anything else."""
    parsed = parse(text, compat=dialect.compat)
    tree = parsed.tree
    if not isinstance(tree, VectorSelector) or tree.offset is not None or tree.at is not None:
        raise QueryError("not a series selector, which is a metric name and label matchers in braces")
    return Matchers.of(tree, parsed, dialect.compat)


def find(store: SampleStore, wanted: Sequence[Matchers], start: float, end: float) -> Iterator[list[Labels]]:
    """The series that an instant query could see in the range and one of the selectors asks for; without any, all.

    `start` and `end` in unix seconds. They come a few at a time, and those that several sources have come several
    times; the store may change in between.
    """
    for name in store.names():
        metric = store.metric(name)
        here = [one for one in wanted if one.name == name or (one.name is None and one.match_name(name))]
        if metric is None or (wanted and not here):
            continue
        for block in list(metric.blocks.values()):
            labels = list(compress(block.labels, _present(block, start, end).tolist()))
            for first in range(0, len(labels), _AT_ONCE):
                part = labels[first : first + _AT_ONCE]
                yield [one for one in part if any(matchers.match(one) for matchers in here)] if here else part


def _present(block: Block, start: float, end: float) -> Bools:
    """Which columns have a sample from `start` to `end`, or one before that still counts at `start`."""
    _, rows = block.between(start, end, closed=True)
    seen: Bools = np.logical_or.reduce(is_sample(rows), axis=0)
    before = block.at(start)
    return seen if before is None else seen | is_sample(before[1])
