"""How actions come to run: requests, the guard, approvals, the engine, the ledger.

Here is what everybody speaks of; the engine and what it stands on are imported from their modules.
"""

from daemon.actions.events import ActionEvent, Happened
from daemon.actions.port import ActionsPort
from daemon.actions.request import Outcome, Request, Result, Source
from daemon.actions.views import Run, RunState, Submitted

__all__ = [
    "ActionEvent",
    "ActionsPort",
    "Happened",
    "Outcome",
    "Request",
    "Result",
    "Run",
    "RunState",
    "Source",
    "Submitted",
]
