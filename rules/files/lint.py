"""What is allowed in rule files but probably not meant."""

from __future__ import annotations

from collections.abc import Iterable

from rules.errors import Problem
from rules.files.names import is_legacy_label_name, is_legacy_metric_name
from rules.model import AlertRule, Group, Rule


def lint(groups: Iterable[Group]) -> list[Problem]:
    """Duplicate rules, as `promtool check rules --lint=duplicate-rules`, and names that Prometheus 2 refuses."""
    warnings: list[Problem] = []
    seen: dict[tuple[str, frozenset[tuple[str, str]]], Rule] = {}
    for group in groups:
        for rule in group.rules:
            texts = _label_texts(rule)
            identity = (rule.name, frozenset(texts.items()))
            first = seen.setdefault(identity, rule)
            if first is not rule:
                shown = "".join(f" {name}: {text}" for name, text in sorted(texts.items()))
                warnings.append(
                    _warning(group, rule, f"duplicate rule, first in line {first.line}: {rule.name}{shown}")
                )
            warnings += (_warning(group, rule, f"Prometheus 2 refuses the {name}") for name in _new_names(rule, texts))
    return warnings


def _warning(group: Group, rule: Rule, message: str) -> Problem:
    return Problem(group.file, rule.line, message)


def _label_texts(rule: Rule) -> dict[str, str]:
    return {name: value if isinstance(value, str) else value.source for name, value in rule.labels}


def _new_names(rule: Rule, labels: Iterable[str]) -> Iterable[str]:
    if not isinstance(rule, AlertRule) and not is_legacy_metric_name(rule.name):
        yield f"metric name {rule.name!r}"
    annotations = (name for name, _ in rule.annotations) if isinstance(rule, AlertRule) else ()
    yield from (f"name {name!r}" for name in (*labels, *annotations) if not is_legacy_label_name(name))
