"""What the page shows and asks for, as the composition root hands it over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from actions import Action
from daemon.actions.operators import Operators
from daemon.actions.port import ActionsPort
from daemon.config import Settings
from daemon.queries import Queries
from daemon.silences import Silences
from daemon.status import Board
from fleet.secrets import Secrets
from fleet.stores import Store
from rules import AlertView, GroupView


class Judged(Protocol):
    """What is known of rules and alerts now."""

    def groups(self, *, rules: bool = True) -> list[GroupView]: ...

    def alerts(self) -> list[AlertView]:
        """Pending, firing, and resolved in the last 15 minutes."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Callables give what holds at the moment: `now` unix seconds, `address` that at which people reach us."""

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
    address: Callable[[], str]
    now: Callable[[], float]
