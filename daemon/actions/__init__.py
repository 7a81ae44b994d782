"""How actions come to run: requests, the guard, the pipeline, the ledger."""

from daemon.actions.events import ActionEvent, Happened
from daemon.actions.guard import Limits
from daemon.actions.ledger import Ledger
from daemon.actions.pipeline import STOP_FILE, Pipeline
from daemon.actions.request import Outcome, Request, Result
from daemon.actions.run import Run, World

__all__ = [
    "STOP_FILE",
    "ActionEvent",
    "Happened",
    "Ledger",
    "Limits",
    "Outcome",
    "Pipeline",
    "Request",
    "Result",
    "Run",
    "World",
]
