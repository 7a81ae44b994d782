"""The seam for collectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import timedelta
from typing import ClassVar

from pydantic import Field

from collectors._family import Family, Rows
from collectors._target import Target
from fleet.durations import Duration
from fleet.policy import Strict


class Collector(ABC):
    """Reads one subject of an environment. One instance serves one environment and is never run twice at once."""

    name: ClassVar[str]
    summary: ClassVar[str]
    families: ClassVar[tuple[Family, ...]]

    class Options(Strict):
        """Every collector has these; `interval` and `max_series` default to what suits the subject."""

        enabled: bool = Field(True, description="whether it runs at all")
        interval: Duration = Field(timedelta(seconds=15), description="how often it runs")
        timeout: Duration = Field(timedelta(seconds=10), description="how long one run may take")
        max_series: int = Field(20_000, description="most series of one environment; what is left out is counted")

    def __init__(self, options: Options) -> None:
        self.options = options

    @abstractmethod
    async def collect(self, target: Target) -> list[Rows]:
        """Read the environment.

        What cannot be known yields no record. What the role may not see is told by `target.gap`. A database that
        fails is recorded by `target` and loses only its own records; any other error loses this collector's samples.
        """
