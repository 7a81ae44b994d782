"""What the page shows and asks for, as the composition root hands it over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from actions import Action
from daemon.actions.operators import Operators
from daemon.actions.port import ActionsPort
from daemon.config import Settings
from daemon.page.live import Live
from daemon.queries import Queries
from daemon.silences import Muting, Silences
from daemon.status import Board
from daemon.telemetry import Reload
from daemon.web.access.access import Access
from fleet.secrets import Secrets
from fleet.stores import Store
from rules import AlertView, GroupView


class Judged(Protocol):
    """What is known of rules and alerts now; of a large fleet, to be asked in a thread."""

    def groups(self, *, rules: bool = True) -> list[GroupView]: ...

    def alerts(self) -> list[AlertView]:
        """Pending, firing, and resolved in the last 15 minutes."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Callables give what holds at the moment: `now` unix seconds, `address` that at which people reach us.

    `errors` says for an environment what went wrong in the last runs of its collectors, by their names; `muting` why an
    alert with these labels does not page.
    """

    settings: Callable[[], Settings]
    board: Callable[[], Awaitable[Board]]
    judged: Judged
    queries: Queries
    port: ActionsPort
    silences: Silences
    operators: Callable[[], Operators]
    actions: Mapping[str, Action[Any]]
    stores: Callable[[], Mapping[str, Store]]
    secrets: Secrets
    live: Live
    access: Access
    address: Callable[[], str]
    now: Callable[[], float]
    errors: Callable[[str], Mapping[str, str]] = lambda _environment: {}
    reload: Callable[[], Reload] = Reload
    muting: Callable[[Mapping[str, str]], Muting | None] = lambda _labels: None
