"""The rule engine: Prometheus rule files evaluated in process, and the rules that Custode ships.

It knows nothing of Custode's other packages: samples come in, transitions of alerts come out.
"""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable

from rules.alerts import Alert, State
from rules.engine import RuleEngine, Saved
from rules.errors import Problem, QueryError, RuleError, RuleFileError, StoreFullError, TemplateError
from rules.files import DEFAULT_INTERVAL, load_files, parse_text
from rules.labels import Labels
from rules.model import AlertRule, Group, RecordRule
from rules.promql import Answer, Dialect, Query, RangeQuery
from rules.running import Lasting, Transition
from rules.store import LOOKBACK, STALE, SampleStore
from rules.templates import Context
from rules.views import AlertView, GroupView, RuleView

__all__ = [
    "LOOKBACK",
    "STALE",
    "Alert",
    "AlertRule",
    "AlertView",
    "Answer",
    "Context",
    "Dialect",
    "Group",
    "GroupView",
    "Labels",
    "Lasting",
    "Problem",
    "Query",
    "QueryError",
    "RangeQuery",
    "RecordRule",
    "RuleEngine",
    "RuleError",
    "RuleFileError",
    "RuleView",
    "SampleStore",
    "Saved",
    "State",
    "StoreFullError",
    "TemplateError",
    "Transition",
    "load_files",
    "load_shipped",
    "parse_text",
    "shipped",
]


def load_shipped(*, interval: float = DEFAULT_INTERVAL) -> list[Group]:
    """The groups of the shipped files. `interval` in seconds."""
    return load_files(shipped(), interval=interval)


def shipped() -> list[Traversable]:
    """The rule files that come with Custode, in order of name."""
    return sorted(
        (file for file in resources.files("rules").iterdir() if file.name.endswith(".yml")), key=lambda file: file.name
    )
