"""Alembic environments: `state` (the daemon's own tables) and `reference` (the guarded application's schema)."""

import threading

running = threading.Lock()  # `alembic.op` and `alembic.context` are global to the process: one run at a time
