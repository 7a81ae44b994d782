"""What the engine is given of the daemon around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from actions import Job, Progress
from daemon.actions import ActionEvent, Run
from daemon.actions.means import Disk, MayChange
from daemon.actions.takeover import application_name
from daemon.alerting import Alerting
from daemon.config import Settings
from daemon.scrape import Scraper
from fleet.connections import Connections
from fleet.environment import Environment
from fleet.errors import ActionError
from fleet.secrets import Secrets
from fleet.stores import Store
from rules import QueryError

CHANGE_SECONDS = 3600.0  # a statement that changes something may take as long as a step
_FULLEST = (
    "bottomk by (environment) (1, custode_disk_available_bytes / custode_disk_size_bytes)"
    " * 0 + on (environment, mountpoint, source) custode_disk_{0}_bytes"
)


class DaemonWorld:
    """The world of one daemon."""

    def __init__(
        self,
        settings: Settings,
        stores: Mapping[str, Store],
        *,
        secrets: Secrets,
        scraper: Scraper,
        alerting: Alerting,
        emit: Callable[[ActionEvent], None],
        now: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._stores = stores
        self._secrets = secrets
        self._scraper = scraper
        self._alerting = alerting
        self._emit = emit
        self._now = now
        self._connections: dict[str, Connections] = {}

    def apply(self, settings: Settings, stores: Mapping[str, Store]) -> None:
        """Use another configuration for the turns to come."""
        self._settings, self._stores = settings, stores

    async def close(self) -> None:
        """Close the connections of turns that have ended."""
        for connections in self._connections.values():
            await connections.close()

    def environment(self, name: str) -> Environment | None:
        return self._settings.environments.get(name)

    def job(self, run: Run, environment: Environment, progress: Progress, may_change: MayChange) -> Job:
        connections = self._connections.get(environment.name)
        if connections is None or connections.environment != environment:
            # not the collectors': an action must not wait for them, nor they for it
            connections = self._connections[environment.name] = Connections(environment, self._secrets)
        job = self._job(run, environment, progress, connections, self._changes(run, environment, may_change))

        def elsewhere(name: str) -> Job:
            other = self._settings.environments.get(name)
            if other is None:
                raise ActionError(f"there is no environment {name!r}")
            return replace(
                job,
                environment=other,
                connections=Connections(other, self._secrets),
                changes=self._changes(run, other, may_change),
            )

        tiers = {name: each.tier for name, each in self._settings.environments.items()}
        return replace(job, elsewhere=elsewhere, tiers=tiers)

    def _changes(self, run: Run, environment: Environment, may_change: MayChange) -> Connections:
        return Connections(
            environment,
            self._secrets,
            statement_seconds=CHANGE_SECONDS,
            read_only=False,
            application_name=application_name(run.id, run.attempt),
            check=may_change,
        )

    def _job(
        self,
        run: Run,
        environment: Environment,
        progress: Progress,
        connections: Connections,
        changes: Connections,
    ) -> Job:
        return Job(
            run_id=run.id,
            attempt=run.attempt,
            started_at=run.begun_at or self._now(),
            environment=environment,
            connections=connections,
            changes=changes,
            secrets=self._secrets,
            stores=self._stores,
            now=self._now,
            progress=progress,
            client_tools=self._settings.client_tools,
            data=dict(run.data),
        )

    async def reread(self, environment: str, subjects: Sequence[str]) -> None:
        # what the batches feed is evaluated as they land
        await self._scraper.scrape_now(environment, subjects)
        await self._alerting.settle()

    def still_firing(self, alert: Mapping[str, str]) -> bool:
        return self._alerting.is_active(alert)

    async def disk(self, environment: str) -> Disk | None:
        """Of the disk with the least share of free room."""
        with suppress(QueryError):
            free = await self._alerting.facts(_FULLEST.format("available"))
            total = await self._alerting.facts(_FULLEST.format("size"))
            if environment in free and environment in total:
                return Disk(free[environment].value, total[environment].value)
        return None

    def emit(self, event: ActionEvent) -> None:
        self._emit(event)
