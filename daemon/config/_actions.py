"""Bounds on actions, and the people who may ask for them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from fleet.durations import Duration
from fleet.policy import Risk, Strict
from fleet.secrets import SecretText

Verb = Literal["request", "approve", "stop"]
SlackId = Annotated[str, Field(pattern=r"^([UWS][A-Z0-9]{2,30}|[^@\s]{1,64}@[^@\s]{1,190})$")]
OPERATOR_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
_NOTHING = timedelta(0)


class Limits(Strict):
    """Bounds on what the daemon does, by itself and for people."""

    per_hour: int = Field(
        20, ge=1, description="most actions begun on one environment in an hour; ten times as many if a person asks"
    )
    per_hour_fleet: int = Field(100, ge=1, description="the same in the whole fleet")
    cooldown: Duration = Field(
        timedelta(minutes=1), description="wait after a failure; doubles with each one after it; people need not wait"
    )
    longest_cooldown: Duration = Field(timedelta(hours=1), description="no wait is longer")
    breaker_not_fixed: int = Field(
        2,
        ge=1,
        le=10,
        description="an action that did not help so often in a row is left to people, until it helps once",
    )
    breaker_failures: int = Field(3, ge=1, le=10, description="the same for one that failed")
    breaker_retry: Duration | None = Field(
        timedelta(hours=6),
        description="a read or safe action that failed so often is tried once more after this; null: by people only",
    )
    at_once: int = Field(8, ge=1, le=16, description="actions that run at the same time in the whole fleet")
    at_once_environment: int = Field(2, ge=1, description="the same on one environment")
    at_once_store: int = Field(1, ge=1, description="the same with one backup store")
    continue_within: Duration = Field(
        timedelta(hours=1), description="a run that was left in the middle for longer is not gone on with"
    )
    self_approval: bool = Field(
        True, description="where one approval is needed, may it be that of the person who asked"
    )
    approval_expires: Duration = Field(
        timedelta(days=3),
        gt=_NOTHING,
        description="how long people have to approve, then the request is refused; and how long a no counts",
    )


def _reference(token: SecretText) -> SecretText:
    if not token.references:
        raise ValueError("holds a token in plain text; write env:NAME, file:/path, awssm:name or vault:mount/path#key")
    return token


class OperatorSettings(Strict):
    """A person, or a program, that may use the engine. Asking covers cancel, pause, resume and retry."""

    local_user: str | None = Field(
        None, min_length=1, description="account on the daemon's machine; null: the operator's own name"
    )
    token: Annotated[SecretText, AfterValidator(_reference)] | None = Field(
        None, description="reference to the bearer token for HTTP; null: not over HTTP"
    )
    slack: tuple[SlackId, ...] = Field(
        (), description="users (U…) and user groups (S…) of Slack, or email addresses there; a group is one person"
    )
    webhook_secret: Annotated[SecretText, AfterValidator(_reference)] | None = Field(
        None, description="reference to the secret that signs webhooks of a program; null: it sends none"
    )
    environments: tuple[str, ...] | None = Field(None, description="environments; null: all")
    actions: tuple[str, ...] | None = Field(None, description="actions; null: all")
    risks: tuple[Risk, ...] | None = Field(
        None, description="how much harm what is asked for or approved can do; null: any"
    )
    may: tuple[Verb, ...] = Field(
        ("request", "approve", "stop"),
        description="ask for actions; approve or reject; stop all actions and start them",
    )


def _nothing_written(value: object) -> object:
    return {} if value is None else value


def _distinct(operators: Mapping[str, OperatorSettings]) -> Mapping[str, OperatorSettings]:
    """One account or token is one person: else two approvals could be one person's."""
    known = defaultdict[str, dict[str, list[str]]](lambda: defaultdict(list))
    for name, operator in operators.items():
        if not OPERATOR_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of an operator; use letters, digits and . _ @ + -")
        known["local_user"][operator.local_user or name].append(name)
        for what, secret in (("token", operator.token), ("webhook_secret", operator.webhook_secret)):
            if secret is not None:
                known[what][secret.raw].append(name)
        for each in {one.casefold() for one in operator.slack}:
            known["slack"][each].append(name)
    for what, owners in known.items():
        for names in owners.values():
            if len(names) > 1:
                raise ValueError(f"{' and '.join(names)} have the same {what}; each person needs one of their own")
    return operators


Operator = Annotated[OperatorSettings, BeforeValidator(_nothing_written)]
OperatorsByName = Annotated[Mapping[str, Operator], AfterValidator(_distinct)]
