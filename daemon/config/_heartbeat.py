"""Where the daemon says that it lives."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from fleet.durations import Duration
from fleet.policy import Strict
from fleet.secrets import SecretText


class HeartbeatSettings(Strict):
    """A dead man's switch outside, such as healthchecks.io, complains when the sign of life stays out."""

    url: SecretText | None = Field(
        None, description="address that is fetched while all is well, or a reference to it; null: none"
    )
    interval: Annotated[Duration, Field(gt=timedelta(0))] = Field(timedelta(minutes=1), description="how often")
