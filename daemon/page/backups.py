"""GET /backups: how each environment can be recovered; /backups/NAME: its calendar, its backups, restore from here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from aiohttp import web
from pydantic import Field

from daemon.page.forms import read_filters
from daemon.page.frame import Frame
from daemon.page.notes import query_of
from daemon.page.sketch import restore_times
from daemon.page.sources import Sources
from daemon.page.standing import CONSENT
from daemon.status import Board, Cell
from daemon.stored import StoredBackups
from daemon.views.backups import backups_of, held
from daemon.views.calendar import months_of
from daemon.views.environment import Environments
from daemon.views.recovery import Recovery, look
from daemon.web._actions_input import Input
from daemon.web.access import Role
from daemon.web.routes import Route
from fleet.backups.retention import Series
from fleet.environment import Environment
from fleet.policy import Consent

_SHOWN = 100  # backups on one page
_PROMISES = ("backup", "restore_test")


class Filters(Input):
    months: Annotated[int, Field(ge=1, le=24)] = 2
    store: Annotated[str, Field(max_length=200)] | None = None
    series: Series | None = None
    after: Annotated[int, Field(ge=0, le=1_000_000)] = 0  # the newest that are passed over


def routes(sources: Sources, frame: Frame, stored: StoredBackups) -> list[Route]:
    pages = _Pages(sources, frame, stored)
    return [
        Route("GET", "/backups", pages.all, Role.VIEWER, "How far back and how fast each environment can be recovered"),
        Route("GET", "/backups/{environment}", pages.one, Role.VIEWER, "The backups of an environment", query=Filters),
    ]


class _Pages:
    def __init__(self, sources: Sources, frame: Frame, stored: StoredBackups) -> None:
        self._sources = sources
        self._frame = frame
        self._stored = stored
        self._environments = Environments(sources)

    async def all(self, request: web.Request) -> web.Response:
        board = await self._sources.board()
        found = await self._look(self._sources.settings().environments)
        return await self._frame.page(
            request,
            "backups.html",
            rows=[one for one in found if _concerned(one)],
            others=[one for one in found if not _concerned(one)],
            cells=_cells(board),
            sketches={one.environment: restore_times(one.tests or (), one.recovery_time_seconds) for one in found},
        )

    async def one(self, request: web.Request) -> web.Response:
        environment = self._environments.known(request.match_info["environment"])
        asked = read_filters(request, Filters)
        backups = backups_of(await self._stored.of(environment))
        (recovery,) = await self._look({environment.name: environment})
        every = held(backups.stores)
        chosen = [
            one
            for one in every
            if (asked.store is None or asked.store in one.copies)
            and (asked.series is None or any(asked.series in copy.tiers for copy in one.copies.values()))
        ]
        said = asked.model_dump(exclude_defaults=True)
        shown = chosen[asked.after : asked.after + _SHOWN]
        return await self._frame.page(
            request,
            "backups_one.html",
            environment=environment,
            recovery=recovery,
            cells=_cells(await self._sources.board()).get(environment.name, {}),
            backups=backups,
            asked=asked,
            shown=shown,
            count=len(chosen),
            newer=query_of(said | {"after": max(0, asked.after - _SHOWN)}) or "?" if asked.after else None,
            older=query_of(said | {"after": asked.after + _SHOWN}) if len(chosen) > asked.after + _SHOWN else None,
            months=months_of(backups, environment.policy.backup, self._sources.now(), asked.months),
            verified=_verified(recovery),
            sketch_=restore_times(recovery.tests or (), recovery.recovery_time_seconds, scale=2.0),
            consents={name: self._consent(environment, name) for name in ("restore", "restore_test", "recover")},
            words=CONSENT,
        )

    async def _look(self, environments: Mapping[str, Environment]) -> list[Recovery]:
        first = next(iter(self._sources.stores()), None)
        return await look(environments, first, self._sources.queries, self._sources.port)

    def _consent(self, environment: Environment, name: str) -> Consent | None:
        """What the policy asks before such an action; None where there is no such action."""
        action = self._sources.actions.get(name)
        return None if action is None else environment.policy.consent.of(action.risk, name)


def _concerned(recovery: Recovery) -> bool:
    """Whether backups are promised, or there are any."""
    return recovery.interval_seconds is not None or bool(recovery.copies)


def _cells(board: Board) -> dict[str, dict[str, Cell]]:
    """What the board says of backups and restore tests, by environment and promise."""
    return {
        row.environment: {cell.promise: cell for cell in row.cells if cell.promise in _PROMISES} for row in board.rows
    }


def _verified(recovery: Recovery) -> Mapping[str, float]:
    """When each backup was last found whole."""
    return {id_: one.at for one in recovery.verifications or () if one.sound for id_ in one.backups}
