"""What actions are given of the daemon around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from actions import Job
from actions._action import Progress
from daemon.actions import ActionEvent
from daemon.alerting import Alerting
from daemon.config import Settings
from daemon.scrape import Scraper
from fleet.connections import Connections
from fleet.secrets import Secrets
from fleet.stores import Store


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
        """Use another configuration for the runs to come."""
        self._settings, self._stores = settings, stores

    async def close(self) -> None:
        """Close the connections of runs that have ended."""
        for connections in self._connections.values():
            await connections.close()

    def job(self, environment: str, run_id: str, started_at: float, progress: Progress) -> Job | None:
        known = self._settings.environments.get(environment)
        if known is None:
            return None
        connections = self._connections.get(environment)
        if connections is None or connections.environment != known:
            # not the collectors': an action must not wait for them, nor they for it
            connections = self._connections[environment] = Connections(known, self._secrets)
        return Job(
            run_id=run_id,
            started_at=started_at,
            environment=known,
            connections=connections,
            secrets=self._secrets,
            stores=self._stores,
            now=self._now,
            progress=progress,
            client_tools=self._settings.client_tools,
        )

    async def reread(self, environment: str, subjects: Sequence[str]) -> None:
        # what the batches feed is evaluated as they land
        await self._scraper.scrape_now(environment, subjects)
        await self._alerting.settle()

    def still_firing(self, alert: Mapping[str, str]) -> bool:
        return self._alerting.is_active(alert)

    def emit(self, event: ActionEvent) -> None:
        self._emit(event)
