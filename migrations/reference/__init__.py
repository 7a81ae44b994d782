"""Alembic environment of the guarded application's schema, as in the strategy guide: for the demo and the tests."""
