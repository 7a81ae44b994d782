"""What the daemon, the web, the command line and Slack see of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from daemon.actions.request import Request
from daemon.actions.views import (
    LedgerFilter,
    LedgerView,
    Preview,
    Run,
    RunDetail,
    RunFilter,
    StopSwitch,
    Submitted,
)
from fleet.errors import ActionError


class UnknownRunError(ActionError):
    """There is no such run."""

    code = "CU510"


class NotPossibleError(ActionError):
    """The run is not in a state for that; somebody was faster, or it has ended."""

    code = "CU511"


class NotAllowedError(ActionError):
    """The person may not do that."""

    code = "CU512"


class ActionsPort(Protocol):
    """Everything raises StateAwayError while the state database cannot be reached.

    `person` is who asks, already identified; `via` says over what (cli, http, slack). Whether the person may is decided
    here, and every answer is in the ledger.
    """

    async def submit(self, request: Request) -> Submitted:
        """Ask for an action. Raises NotPossibleError where the request makes no sense (no such action, parameters)."""

    async def preview(self, request: Request) -> Preview:
        """A dry run: the guard's answer and the plan. Raises ActionError where the plan cannot be made."""

    async def answer(
        self, run_id: str, person: str, *, approved: bool, via: str, reason: str = "", digest: str | None = None
    ) -> Run:
        """Approve or reject. `digest` is the plan that the person saw; where it is another one by now, refused."""

    async def cancel(self, run_id: str, person: str, *, via: str, reason: str = "") -> Run: ...

    async def pause(self, run_id: str, person: str, *, via: str) -> Run:
        """Stop after the step under way."""

    async def resume(self, run_id: str, person: str, *, via: str) -> Run: ...

    async def retry(self, run_id: str, person: str, *, via: str) -> Submitted:
        """Ask again for what an ended run was to do."""

    async def runs(self, wanted: RunFilter) -> Sequence[Run]: ...

    async def run(self, run_id: str) -> RunDetail:
        """By its id or the beginning of one, where that is unique."""

    async def entries(self, wanted: LedgerFilter) -> Sequence[LedgerView]: ...

    async def stop(self, person: str, *, via: str, reason: str = "") -> StopSwitch:
        """No action begins, on no daemon; what runs stops after its step."""

    async def release(self, person: str, *, via: str) -> StopSwitch: ...

    async def switch(self) -> StopSwitch: ...
