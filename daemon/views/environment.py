"""All that a person wants to know of one environment, from its samples, the configuration and the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, Self

from daemon.actions.operators import Operators
from daemon.actions.port import ActionsPort
from daemon.actions.views import Run, RunFilter, RunState
from daemon.config import Settings
from daemon.queries import Queries
from daemon.status import Board, Cell, State
from daemon.views.copies import COPIES, BackupsInShort, backups_in_short
from daemon.views.databases import DATABASES, Database, databases
from daemon.views.disks import DISKS, Disk, disks
from daemon.views.events import ActionLine, AlertLine, action_lines, alert_lines, measured
from daemon.views.indexes import INDEXES, Index, indexes
from daemon.views.policy import PolicyView, policy_view
from daemon.views.samples import Samples, answer, ask, flag
from daemon.views.schema import SCHEMA, Schema, schema
from daemon.views.scrapes import SCRAPES, Scrape, scrapes
from daemon.views.security import SECURITY, Security, security
from daemon.views.server import SERVER, Connections, Replication, Server, connections, replication, server
from daemon.views.tables import TABLES, Table, tables
from daemon.views.vectors import VECTORS, VectorIndex, vector_indexes
from fleet.environment import Environment
from fleet.errors import CustodeError, StateError
from rules import AlertView

QUESTIONS = (SCRAPES, SERVER, DATABASES, TABLES, INDEXES, VECTORS, DISKS, SCHEMA, SECURITY, COPIES)
LAST_ACTIONS = 10
_PROBES = 50  # runs of probe_recall that are looked through


class UnknownEnvironmentError(CustodeError):
    """No environment of that name is configured."""

    code = "CU640"

    @classmethod
    def of(cls, name: str, known: Iterable[str]) -> Self:
        return cls(f"there is no environment {name[:64]!r}", hint=f"known are: {', '.join(known)}")


class Alerts(Protocol):
    def alerts(self) -> list[AlertView]:
        """Pending and firing ones, perhaps others."""


class Sources(Protocol):
    """Where it is known from; callables give what holds at the moment."""

    @property
    def settings(self) -> Callable[[], Settings]: ...
    @property
    def board(self) -> Callable[[], Awaitable[Board]]: ...
    @property
    def judged(self) -> Alerts: ...
    @property
    def queries(self) -> Queries: ...
    @property
    def port(self) -> ActionsPort: ...
    @property
    def operators(self) -> Callable[[], Operators]: ...
    @property
    def errors(self) -> Callable[[str], Mapping[str, str]]:
        """Of an environment: what went wrong in the last runs of its collectors, by their names."""


@dataclass(frozen=True, slots=True)
class EnvironmentSummary:
    """`watched`: this daemon looks after it, else another one may. `up` is None where that is unknown."""

    name: str
    tier: str
    watched: bool
    up: bool | None
    promises: int
    broken: tuple[str, ...]
    pending: tuple[str, ...]
    unknown: tuple[str, ...]
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EnvironmentView:
    """`at` is in unix seconds. `actions_problem` says why nothing is known of its actions, where that is so."""

    at: float
    summary: EnvironmentSummary
    promises: tuple[Cell, ...]
    collectors: list[Scrape]
    server: Server
    connections: Connections
    replication: Replication
    databases: list[Database]
    tables: list[Table]
    indexes: list[Index]
    vectors: list[VectorIndex]
    disks: list[Disk]
    schema: Schema
    security: Security
    backups: BackupsInShort
    alerts: list[AlertLine]
    actions: list[ActionLine]
    actions_problem: str | None
    policy: PolicyView


class Environments:
    """Tells what is known of the configured environments."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    async def all(self) -> list[EnvironmentSummary]:
        """In the order of the configuration. Raises SamplesError."""
        board = await self._sources.board()
        (found,) = await answer(self._sources.queries, ["custode_up"])
        up = {labels.get("environment"): value for labels, value in found}
        return [_summary(one, board, up.get(name)) for name, one in self._sources.settings().environments.items()]

    def known(self, name: str) -> Environment:
        """Raises UnknownEnvironmentError."""
        configured = self._sources.settings().environments
        if name not in configured:
            raise UnknownEnvironmentError.of(name, configured)
        return configured[name]

    async def one(self, name: str) -> EnvironmentView:
        """Raises UnknownEnvironmentError, SamplesError."""
        environment = self.known(name)
        samples = await ask(self._sources.queries, name, QUESTIONS)
        problem: str | None = None
        runs: list[Run] = []
        probes: list[Run] = []
        try:
            runs = list(await self._sources.port.runs(RunFilter(environment=name, limit=LAST_ACTIONS)))
            ended = RunFilter(environment=name, action="probe_recall", states=(RunState.ENDED,), limit=_PROBES)
            probes = list(await self._sources.port.runs(ended))
        except StateError as error:
            problem = error.message
        return view(
            environment,
            self._sources.settings(),
            samples,
            board=await self._sources.board(),
            alerts=alert_lines(await asyncio.to_thread(self._sources.judged.alerts), name),
            runs=runs,
            probes=probes,
            problem=problem,
            operators=self._sources.operators(),
            errors=self._sources.errors(name),
            now=self._sources.queries.now(),
        )


def view(
    environment: Environment,
    settings: Settings,
    samples: Samples,
    *,
    board: Board,
    alerts: list[AlertLine],
    runs: list[Run],
    probes: list[Run],
    problem: str | None,
    operators: Operators,
    errors: Mapping[str, str],
    now: float,
) -> EnvironmentView:
    """Put together what the parts make of the same samples. `now` in unix seconds."""
    row = next((row for row in board.rows if row.environment == environment.name), None)
    return EnvironmentView(
        at=now,
        summary=_summary(environment, board, samples.one("up")),
        promises=() if row is None else row.cells,
        collectors=scrapes(samples, settings.collectors, errors),
        server=server(samples),
        connections=connections(samples),
        replication=replication(samples),
        databases=databases(samples),
        tables=tables(samples, now),
        indexes=indexes(samples),
        vectors=vector_indexes(samples, environment.policy, measured(probes)),
        disks=disks(samples),
        schema=schema(samples, environment, settings.schema_reference),
        security=security(samples, environment.policy),
        backups=backups_in_short(samples),
        alerts=alerts,
        actions=action_lines(runs),
        actions_problem=problem,
        policy=policy_view(environment, operators),
    )


def _summary(environment: Environment, board: Board, up: float | None) -> EnvironmentSummary:
    row = next((row for row in board.rows if row.environment == environment.name), None)
    cells = () if row is None else row.cells

    def those(state: State) -> tuple[str, ...]:
        return tuple(cell.promise for cell in cells if cell.state is state)

    return EnvironmentSummary(
        environment.name,
        environment.tier.value,
        row is not None,
        flag(up),
        sum(cell.state is not State.NOT_PROMISED for cell in cells),
        those(State.BROKEN),
        those(State.PENDING),
        those(State.UNKNOWN),
        dict(environment.labels),
    )
