"""The rule engine: Prometheus rule files evaluated in process, and the rules that Custode ships.

It knows nothing of Custode's other packages: samples come in, transitions of alerts come out.
"""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable

from rules.alerts import State
from rules.engine import AlertView, GroupView, RuleEngine, RuleView
from rules.errors import Problem, QueryError, RuleError, RuleFileError, TemplateError
from rules.files import DEFAULT_INTERVAL, load_files, parse_text
from rules.labels import Labels
from rules.model import AlertRule, Group, RecordRule
from rules.promql import Query
from rules.running import Transition
from rules.store import LOOKBACK, SampleStore

__all__ = [
    "LOOKBACK",
    "AlertRule",
    "AlertView",
    "Group",
    "GroupView",
    "Labels",
    "Problem",
    "Query",
    "QueryError",
    "RecordRule",
    "RuleEngine",
    "RuleError",
    "RuleFileError",
    "RuleView",
    "SampleStore",
    "State",
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
