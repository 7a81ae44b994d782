"""Refreshes that nobody wrote a schedule for: where fresh data is promised by the week, and there is all it needs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from fleet.environment import Environment
from fleet.policy import Schedule, Tier

ACTION = "refresh"
# the guide refreshes so: Sunday at 2 AM
WEEKLY = Schedule(action=ACTION, cron="0 2 * * sun")
_LEAST = timedelta(days=7)


def with_refreshes(environments: Mapping[str, Environment]) -> dict[str, Environment]:
    """The environments, with a weekly refresh where one is promised, can be made, and is not told otherwise.

    It can where there is one production to come from and a key to mask with, which is set for nothing else. A schedule
    of the action, also one that is not enabled, is what is told. Production is never a target.
    """
    productions = [name for name, each in environments.items() if each.tier is Tier.PRODUCTION]
    if len(productions) != 1:
        return dict(environments)
    return {name: _scheduled(environment) for name, environment in environments.items()}


def _scheduled(environment: Environment) -> Environment:
    policy = environment.policy
    promised, known = policy.data.refresh_interval, policy.schedules
    told = ACTION in known or any(schedule.action == ACTION for schedule in known.values())
    if environment.tier is Tier.PRODUCTION or told or policy.data.mask_key is None:
        return environment
    if promised is None or promised < _LEAST:
        return environment
    schedules = {**known, ACTION: WEEKLY}
    return environment.model_copy(update={"policy": policy.model_copy(update={"schedules": schedules})})
