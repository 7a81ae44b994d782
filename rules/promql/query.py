"""A compiled expression, and its evaluation at a time or over a range."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np

from rules.errors import QueryError
from rules.labels import Labels
from rules.promql.answers import Answer, Finish, Kind, matrix, raw, steps
from rules.promql.compile import Compiler
from rules.promql.evaluation import SAMPLES, Dialect, Evaluation, Moment
from rules.promql.nodes import Node, RangeNode, ScalarNode, StringNode, VectorNode
from rules.promql.parse import parse
from rules.promql.vector import Vector
from rules.store import SampleStore

MOST_STEPS = 11_000  # of a range query, as in Prometheus: a week by the minute
_PROMETHEUS_3 = Dialect()


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A compiled expression. `names` are the metrics it reads, None where only matchers tell.

    It may be evaluated again and again, but in one thread at a time: it remembers what labels it has seen.
    """

    text: str
    dialect: Dialect
    names: frozenset[str] | None
    windows: Mapping[str, float]  # seconds of history that it reads, by metric name; "" is of every metric
    ranged: bool  # whether it reads a range, and not only single samples
    _node: Node
    _finish: Finish = field(default_factory=Finish)

    @classmethod
    def compile(cls, text: str, dialect: Dialect = _PROMETHEUS_3) -> Query:
        """Raises QueryError for what cannot be parsed or is not supported."""
        compiler = Compiler(parse(text, compat=dialect.compat), dialect)
        try:
            node = compiler.root()
        except RecursionError:
            raise QueryError("the expression is nested too deeply") from None
        names = frozenset(name for name in compiler.names if name is not None)
        known = None if None in compiler.names else names
        return cls(text, dialect, known, compiler.windows, compiler.ranged, node)

    @property
    def kind(self) -> Kind:
        """The type of its answer at a time."""
        return self._node.kind

    def evaluate(
        self,
        store: SampleStore,
        time: float,
        *,
        samples: int = SAMPLES,
        timeout: float = math.inf,
        timer: Callable[[], float] = perf_counter,
    ) -> list[tuple[Labels, float]]:
        """The elements of the result at `time` (unix seconds), as a rule takes them; a scalar is one without labels.

        Raises QueryError where the data cannot be matched, the result is neither vector nor scalar, or more than
        `samples` or `timeout` seconds of `timer` would be needed.
        """
        evaluation = Evaluation(store, self.dialect, time, time, samples, timeout, timer)
        with np.errstate(all="ignore"):
            vector = self.vector(Moment(evaluation, time))
            if vector is None:
                raise QueryError("rule result is not a vector or scalar")
            return list(self._finish(vector).samples())

    def instant(self, store: SampleStore, time: float, *, samples: int = SAMPLES, timeout: float = math.inf) -> Answer:
        """The answer at `time` (unix seconds). Raises QueryError as `evaluate` does."""
        evaluation = Evaluation(store, self.dialect, time, time, samples, timeout)
        moment, node = Moment(evaluation, time), self._node
        with np.errstate(all="ignore"):
            match node:
                case StringNode():
                    answer = Answer("string", string=node.text)
                case ScalarNode():
                    answer = Answer("scalar", scalar=node.run(moment))
                case RangeNode():
                    answer = Answer("matrix", matrix=raw(node.run(moment)))
                case VectorNode():
                    answer = Answer("vector", vector=list(self._finish(node.run(moment)).samples()))
        return replace(answer, warnings=tuple(evaluation.warnings), infos=tuple(evaluation.infos))

    def range(
        self,
        store: SampleStore,
        start: float,
        end: float,
        step: float,
        *,
        samples: int = SAMPLES,
        timeout: float = math.inf,
    ) -> Answer:
        """The answers from `start` to `end` (unix seconds), `step` seconds apart, as a matrix. Raises QueryError."""
        query = RangeQuery(self, store, start, end, step, samples=samples, timeout=timeout)
        while query.advance(MOST_STEPS):
            pass
        return query.answer()

    def vector(self, moment: Moment) -> Vector | None:
        """The result as a vector whose doomed names are still there; None where it is no vector and no scalar."""
        node = self._node.as_vector() if isinstance(self._node, ScalarNode) else self._node
        return node.run(moment) if isinstance(node, VectorNode) else None


class RangeQuery:
    """A range query in progress, a few steps at a time, so that a long one does not hold up others."""

    def __init__(
        self,
        query: Query,
        store: SampleStore,
        start: float,
        end: float,
        step: float,
        *,
        samples: int = SAMPLES,
        timeout: float = math.inf,
    ) -> None:
        """Raises QueryError for a query whose answers are not vectors or scalars, and for too many steps."""
        if query.kind in _NOT_OVER_TIME:
            raise QueryError(
                f'invalid expression type "{_NOT_OVER_TIME[query.kind]}" for range query, '
                "must be Scalar or instant Vector"
            )
        if step <= 0 or (end - start) / step > MOST_STEPS:
            raise QueryError(
                "exceeded maximum resolution of 11,000 points per timeseries. "
                "Try decreasing the query resolution (?step=XX)"
            )
        self._query = query
        self._evaluation = Evaluation(store, query.dialect, start, end, samples, timeout)
        self._due = steps(start, end, step)
        self._times: list[float] = []
        self._vectors: list[Vector] = []

    def advance(self, count: int) -> bool:
        """Evaluate the next `count` steps; False when there are no more. Raises QueryError."""
        with np.errstate(all="ignore"):
            for _ in range(count):
                time = next(self._due, None)
                vector = None if time is None else self._query.vector(Moment(self._evaluation, time))
                if time is None or vector is None:
                    return False
                self._evaluation.spend(len(vector.series))
                self._times.append(time)
                self._vectors.append(vector.unique())
        return True

    def answer(self) -> Answer:
        """Once there are no more steps. Raises QueryError."""
        answer = matrix(self._times, self._vectors)
        return replace(answer, warnings=tuple(self._evaluation.warnings), infos=tuple(self._evaluation.infos))


_NOT_OVER_TIME = {"matrix": "range vector", "string": "string"}
