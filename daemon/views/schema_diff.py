"""What differs between the schema of an environment and the reference's, read from both servers when asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from daemon.config import Settings
from daemon.schemas import Compared, compared, suggested
from daemon.views.environment import UnknownEnvironmentError
from fleet.errors import ConnectError, CustodeError
from fleet.schema import Difference

READ_SECONDS = 30.0  # for both environments together
_SHOWN = 500  # differences of one database


class NotComparedError(CustodeError):
    """The environment has nobody to be compared with."""

    code = "CU642"


@dataclass(frozen=True, slots=True)
class DifferenceView:
    """An object that is missing here, extra (only here), changed or renamed, beside the reference."""

    kind: str
    object: str
    change: str
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ComparisonView:
    """A database beside that of the reference. `count` differences, the first of which are told; `sql` removes them.

    `migrating` are the environments where a migration is under way: it may be all that differs.
    """

    environment: str
    database: str
    against: str
    migrating: tuple[str, ...]
    count: int
    differences: tuple[DifferenceView, ...]
    sql: tuple[str, ...]


class SchemaDiffs:
    """Compares, one environment at a time: it reads whole catalogues. Nothing is changed."""

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._turn = asyncio.Semaphore(1)

    async def of(self, name: str) -> list[ComparisonView]:
        """The databases of an environment.

        Raises:
            UnknownEnvironmentError, NotComparedError: there is nothing to compare.
            ConnectError: one of the two cannot be read now.
        """
        settings = self._settings()
        if name not in settings.environments:
            raise UnknownEnvironmentError.of(name, settings.environments)
        reference = settings.schema_reference
        if reference is None or reference == name:
            raise NotComparedError(f"{name} is compared with no other", hint="schema_reference names the one to match")
        try:
            async with asyncio.timeout(READ_SECONDS), self._turn:
                found = await compared(settings, settings.environments[name], reference, None)
        except TimeoutError:
            raise ConnectError(
                f"the schemas of {name} and {reference} were not read within {READ_SECONDS:.0f} s",
                hint="try again in a moment",
            ) from None
        return await asyncio.to_thread(lambda: [comparison(one, reference) for one in found])


def comparison(one: Compared, against: str) -> ComparisonView:
    shown = one.differences[:_SHOWN]
    return ComparisonView(
        one.schema.environment.name,
        one.schema.database,
        against,
        one.migrating,
        len(one.differences),
        tuple(map(_difference, shown)),
        tuple(suggested(one)),
    )


def _difference(one: Difference) -> DifferenceView:
    return DifferenceView(one.kind, one.object, one.change, tuple(one.details))
