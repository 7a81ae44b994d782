"""PromQL: parsed by promql-parser, compiled once, evaluated on NumPy columns. Semantics of Prometheus 3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rules.errors import QueryError
from rules.labels import EMPTY, Labels
from rules.promql.compile import Compiler, Node, ScalarNode
from rules.promql.parse import parse
from rules.promql.vector import Moment
from rules.store import SampleStore

__all__ = ["Query"]


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A compiled expression. `names` are the metrics it reads, None where only matchers tell."""

    text: str
    names: frozenset[str] | None
    windows: Mapping[str, float]  # seconds of history that it reads, per metric name
    instant: bool  # True where it needs no history
    _node: Node

    @classmethod
    def compile(cls, text: str) -> Query:
        """Raises QueryError for what cannot be parsed or is not supported."""
        compiler = Compiler()
        try:
            node = compiler.node(parse(text))
        except RecursionError:
            raise QueryError("the expression is nested too deeply") from None
        names = frozenset(name for name in compiler.names if name is not None)
        return cls(text, None if None in compiler.names else names, compiler.windows, not compiler.ranged, node)

    def evaluate(self, store: SampleStore, time: float) -> list[tuple[Labels, float]]:
        """The elements of the result at `time` (unix seconds); a scalar is one element without labels.

        Raises QueryError where the data cannot be matched.
        """
        moment = Moment(store, time)
        with np.errstate(all="ignore"):
            if isinstance(self._node, ScalarNode):
                return [(EMPTY, self._node.run(moment))]
            return list(self._node.run(moment).samples())
