"""The daemon's own state on PostgreSQL: `StateDatabase` reaches or starts it, migrates it, knows when it is away."""

from daemon.state._database import StateDatabase, raw
from daemon.state._migrations import Revision

__all__ = ["Revision", "StateDatabase", "raw"]
