"""Rules and alerts as Prometheus's HTTP API shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any

from daemon.web._prometheus_form import BadParameterError, Form
from daemon.web._prometheus_json import rfc3339
from rules import AlertView, Dialect, GroupView, Labels, QueryError, RuleView, State
from rules.promql.find import selector
from rules.promql.matchers import Matchers
from rules.strconv import exponential

_ACTIVE = (State.PENDING, State.FIRING)
_KINDS = {"alert": ("alert",), "record": ("record",), "": ("alert", "record")}
_MOST_SELECTORS = 100


def alerts_data(alerts: Iterable[AlertView]) -> dict[str, Any]:
    return {"alerts": [_alert(alert) for alert in alerts if alert.state in _ACTIVE]}


def rules_data(groups: Sequence[GroupView], form: Form, dialect: Dialect) -> dict[str, Any]:
    """The groups that the form asks for, page by page where it has a `group_limit`. Raises BadParameterError."""
    chosen = _Choice(form, dialect)
    limit = _group_limit(form)
    token = form.text("group_next_token")
    if token:
        groups = groups[_place(groups, token) :]
    found: list[dict[str, Any]] = []
    for group in groups:
        rules = [_rule(rule, alerts, chosen.with_alerts) for rule, alerts in group.rules if chosen.rule(rule)]
        if not rules or not chosen.group(group):
            continue
        if len(found) == limit:
            return {"groups": found, "groupNextToken": _token(group)}
        found.append(_group(group, rules))
    return {"groups": found}


class _Choice:
    """What the form asks for. Raises BadParameterError."""

    def __init__(self, form: Form, dialect: Dialect) -> None:
        kind = form.text("type").lower()
        if kind not in _KINDS:
            raise BadParameterError.of("type", f'not supported value "{kind}"')
        self._kinds = _KINDS[kind]
        self._names, self._groups = frozenset(form.texts("rule_name[]")), frozenset(form.texts("rule_group[]"))
        self._files = frozenset(form.texts("file[]"))
        self._matchers = _selectors(form.texts("match[]"), dialect)
        self.with_alerts = not form.truth("exclude_alerts")

    def group(self, group: GroupView) -> bool:
        return (not self._groups or group.name in self._groups) and (not self._files or group.file in self._files)

    def rule(self, rule: RuleView) -> bool:
        if rule.kind not in self._kinds or (self._names and rule.name not in self._names):
            return False
        if not self._matchers:
            return True
        labels = Labels(rule.labels)
        return any(one.name is None and one.match(labels) for one in self._matchers)


def _selectors(texts: Sequence[str], dialect: Dialect) -> list[Matchers]:
    if len(texts) > _MOST_SELECTORS:
        raise BadParameterError.of(
            "match[]", f"{len(texts)} selectors are too many, at most {_MOST_SELECTORS} are read"
        )
    try:
        return [selector(text, dialect) for text in texts]
    except QueryError as error:
        raise BadParameterError.of("match[]", error.message) from error


def _group_limit(form: Form) -> int | None:
    text = form.text("group_limit")
    if not text:
        if form.text("group_next_token"):
            raise BadParameterError.of(
                "group_next_token", "group_limit needs to be present in order to paginate over the groups"
            )
        return None
    if not text.isdecimal() or len(text) > 9 or int(text) == 0:
        raise BadParameterError.of("group_limit", "group_limit needs to be a valid number greater than 0")
    return int(text)


def _place(groups: Sequence[GroupView], token: str) -> int:
    for place, group in enumerate(groups):
        if _token(group) == token:
            return place
    raise BadParameterError.of("group_next_token", f"invalid group_next_token '{token}'. were rule groups changed?")


def _token(group: GroupView) -> str:
    return sha256(f"{group.file};{group.name}".encode()).hexdigest()


def _group(group: GroupView, rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": group.name,
        "file": group.file,
        "rules": rules,
        "interval": group.interval,
        "limit": group.limit,
        "evaluationTime": group.duration,
        "lastEvaluation": rfc3339(group.evaluated_at),
    }


def _rule(rule: RuleView, alerts: Iterable[AlertView], with_alerts: bool) -> dict[str, Any]:
    return dict(_alert_rule(rule, alerts, with_alerts) if rule.kind == "alert" else _record_rule(rule))


def _alert_rule(rule: RuleView, alerts: Iterable[AlertView], with_alerts: bool) -> Iterator[tuple[str, Any]]:
    active = [alert for alert in alerts if alert.state in _ACTIVE]
    states = {alert.state for alert in active}
    yield "state", next((str(state) for state in (State.FIRING, State.PENDING) if state in states), "inactive")
    yield "name", rule.name
    yield "query", rule.query
    yield "duration", rule.hold
    yield "keepFiringFor", rule.keep_firing
    yield "labels", dict(rule.labels)
    yield "annotations", dict(rule.annotations)
    yield "alerts", [_alert(alert) for alert in active] if with_alerts else []
    yield from _outcome(rule)
    yield "type", "alerting"


def _record_rule(rule: RuleView) -> Iterator[tuple[str, Any]]:
    yield "name", rule.name
    yield "query", rule.query
    if rule.labels:
        yield "labels", dict(rule.labels)
    yield from _outcome(rule)
    yield "type", "recording"


def _outcome(rule: RuleView) -> Iterator[tuple[str, Any]]:
    yield "health", rule.health
    if rule.last_error:
        yield "lastError", rule.last_error
    yield "evaluationTime", rule.duration
    yield "lastEvaluation", rfc3339(rule.evaluated_at)


def _alert(alert: AlertView) -> dict[str, Any]:
    since = alert.keep_firing_since
    return {
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "state": str(alert.state),
        "activeAt": rfc3339(alert.active_at),
        **({} if since is None else {"keepFiringSince": rfc3339(since)}),
        "value": exponential(alert.value),
    }
