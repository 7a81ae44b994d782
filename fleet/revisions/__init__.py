"""An application's Alembic revisions, read from its scripts without running them, and where an environment stands."""

from fleet.revisions.graph import Revision, RevisionGraph, build_graph
from fleet.revisions.position import Position, position
from fleet.revisions.rows import read_rows
from fleet.revisions.scripts import fingerprint, read_graph, read_revision, read_scripts, script_files

__all__ = [
    "Position",
    "Revision",
    "RevisionGraph",
    "build_graph",
    "fingerprint",
    "position",
    "read_graph",
    "read_revision",
    "read_rows",
    "read_scripts",
    "script_files",
]
