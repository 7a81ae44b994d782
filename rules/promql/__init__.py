"""PromQL: parsed by promql-parser, compiled once, evaluated on NumPy columns. Semantics of Prometheus 3, or of 2."""

from __future__ import annotations

from rules.promql.answers import Answer
from rules.promql.evaluation import Dialect
from rules.promql.query import Query, RangeQuery

__all__ = ["Answer", "Dialect", "Query", "RangeQuery"]
