"""An expression in the layout of Prometheus's `promtool promql format`."""

from __future__ import annotations

from rules.promql.evaluation import Dialect
from rules.promql.parse import parse

_PROMETHEUS_3 = Dialect()


def pretty(text: str, dialect: Dialect = _PROMETHEUS_3) -> str:
    """Raises QueryError. What the parser does not read as it is written stays as it is."""
    parsed = parse(text, compat=dialect.compat)
    return text if parsed.moments or "holt_winters" in text else str(parsed.tree.prettify())
