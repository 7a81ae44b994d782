"""Alembic environments: `state` (the daemon's own tables) and `reference` (the guarded application's schema)."""
