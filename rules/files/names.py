"""Which names of metrics and labels are valid: any UTF-8 in Prometheus 3, a few ASCII characters in Prometheus 2."""

from __future__ import annotations

import re

from rules.promql import Dialect

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def is_metric_name(name: str, dialect: Dialect) -> bool:
    return is_legacy_metric_name(name) or (dialect.compat > 2 and _is_text(name))


def is_label_name(name: str, dialect: Dialect) -> bool:
    return is_legacy_label_name(name) or (dialect.compat > 2 and _is_text(name))


def is_legacy_metric_name(name: str) -> bool:
    return _METRIC.fullmatch(name) is not None


def is_legacy_label_name(name: str) -> bool:
    return _LABEL.fullmatch(name) is not None


def _is_text(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False
