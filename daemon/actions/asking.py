"""What a request means: the action, where, with which parameters, on what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from actions import Action, Target
from daemon.actions.means import Means
from daemon.actions.port import NotPossibleError
from fleet.environment import Environment
from fleet.policy import Risk, Strict


@dataclass(frozen=True, slots=True)
class Meaning:
    environment: Environment
    action: Action[Any]
    parameters: Strict
    target: Target
    risk: Risk


def understand(means: Means, action: str, environment: str, parameters: Mapping[str, Any]) -> Meaning:
    """Raises NotPossibleError where it makes no sense."""
    found = means.actions.get(action)
    if found is None:
        raise NotPossibleError(f"there is no action {action!r}", hint=f"known are: {', '.join(means.actions)}")
    place = means.world.environment(environment)
    if place is None:
        raise NotPossibleError(f"there is no environment {environment!r} here", hint="custode status shows them")
    try:
        read = found.parameters().model_validate(dict(parameters))
    except ValidationError as error:
        first = error.errors()[0]
        raise NotPossibleError(
            f"parameter {'.'.join(map(str, first['loc']))}: {first['msg']}",
            hint=f"custode list actions shows the parameters of {action}",
        ) from None
    return Meaning(place, found, read, found.target(read), found.risk_of(read))
