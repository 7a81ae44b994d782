"""What an environment's migration settings name elsewhere: other environments, actions; and who comes first."""

from __future__ import annotations

from collections.abc import Mapping

from daemon.config._plugins import Reader
from daemon.config._problems import closest
from fleet.environment import Environment
from fleet.policy import Tier

_ORDER = list(Tier)


def check_migrations(environments: Mapping[str, Environment], reader: Reader) -> None:
    """Note environments that come first and do not exist or wait in turn, and consents to actions that do not exist."""
    known = reader.catalogue.actions
    for name, environment in environments.items():
        for action in environment.policy.consent.actions.keys() - known.keys():
            place = ("environments", name, "policy", "consent", "actions", action)
            reader.problems.add(place, "there is no such action", closest(action, known))
        at = ("environments", name, "migrations", "tried_on")
        for first in environment.migrations.tried_on or ():
            if first not in environments:
                reader.problems.add(at, f"there is no environment {first}", closest(first, environments))
            elif first == name or name in (environments[first].migrations.tried_on or ()):
                reader.problems.add(at, f"{first} and {name} would wait for each other")


def with_those_before(environments: Mapping[str, Environment]) -> dict[str, Environment]:
    """The environments, each told who comes first: where nothing is said, all of lower tiers that have scripts."""
    return {name: _told(environment, environments) for name, environment in environments.items()}


def _told(environment: Environment, environments: Mapping[str, Environment]) -> Environment:
    settings = environment.migrations
    if settings.tried_on is not None or not settings.has_scripts:
        return environment
    lower = _ORDER[: _ORDER.index(environment.tier)]
    first = tuple(name for name, each in environments.items() if each.tier in lower and each.migrations.has_scripts)
    return environment.model_copy(update={"migrations": settings.model_copy(update={"tried_on": first})})
