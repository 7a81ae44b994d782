"""The newest samples of one environment: asked for in one turn, read by the names of metrics and labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import Template

from daemon.queries import Queries
from fleet.errors import DaemonError
from rules import QueryError
from rules.strconv import quote

Key = tuple[str, ...]  # values of the labels asked for, in their order
Sample = tuple[Mapping[str, str], float]

OBJECT = ("datname", "schemaname", "relname")
INDEX = (*OBJECT, "indexrelname")
_PREFIX = "custode_"


class SamplesError(DaemonError):
    """The sample store has no answer now: it is busy."""

    code = "CU641"


@dataclass(frozen=True, slots=True)
class Question:
    """What a part of a view asks for: metrics, without `custode_`, and figures that are computed, by a name of theirs.

    In the expression of a figure $environment stands for the environment's name, quoted.
    """

    metrics: tuple[str, ...]
    figures: Mapping[str, str] | None = None

    def expressions(self, environment: str) -> dict[str, str]:
        """PromQL by the name of the figure; "" is that of all the metrics, which keep their names."""
        name = quote(environment)
        wanted = "|".join(_PREFIX + metric for metric in self.metrics)
        computed = {
            figure: Template(text).substitute(environment=name) for figure, text in (self.figures or {}).items()
        }
        # the environment first: it tells most series apart, and at once
        return {"": f'{{environment={name},__name__=~"{wanted}"}}', **computed}


@dataclass(frozen=True, slots=True)
class Samples:
    """By metric (without `custode_`) or figure. What is unknown is not there, and what is no number is unknown."""

    found: Mapping[str, Sequence[Sample]]

    @classmethod
    def of(cls, samples: Iterable[tuple[str, Mapping[str, str], float]]) -> Samples:
        found: dict[str, list[Sample]] = {}
        for name, labels, value in samples:
            if not math.isnan(value):
                found.setdefault(name.removeprefix(_PREFIX), []).append((labels, value))
        return cls(found)

    def one(self, name: str) -> float | None:
        """The value of a metric that an environment has once."""
        return next((value for _, value in self.found.get(name, ())), None)

    def by(self, name: str, *labels: str) -> dict[Key, float]:
        """Values by those of `labels`; the last counts where several series have the same."""
        return {tuple([found.get(label, "") for label in labels]): value for found, value in self.found.get(name, ())}

    def infos(self, name: str) -> list[Mapping[str, str]]:
        """The labels of a metric whose value says nothing."""
        return [labels for labels, _ in self.found.get(name, ())]


async def ask(queries: Queries, environment: str, questions: Iterable[Question]) -> Samples:
    """Answer them all within one turn. Raises SamplesError."""
    asked = [one for question in questions for one in question.expressions(environment).items()]
    answers = await answer(queries, [expression for _, expression in asked])
    return Samples.of(
        (name or labels.get("__name__", ""), labels, value)
        for (name, _), found in zip(asked, answers, strict=True)
        for labels, value in found
    )


async def answer(queries: Queries, expressions: Sequence[str]) -> list[Sequence[Sample]]:
    """The vectors that they are at this moment, within one turn. Raises SamplesError."""
    at = queries.now()
    try:
        async with queries.turn() as until:
            return [(await queries.instant(expression, at, until)).vector for expression in expressions]
    except QueryError as error:
        raise SamplesError(f"the samples cannot be read now: {error.message}", hint="try again in a while") from error


def latest(*moments: float | None) -> float | None:
    """The last of those that are known."""
    return max((moment for moment in moments if moment is not None), default=None)


def flag(value: float | None) -> bool | None:
    return None if value is None else value > 0


def ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole
