"""Fixtures of the integration tests that live in files of their own."""

from tests.integration.backups import log_in_as, make_job, store
from tests.integration.engines import fleet_database, make_daemon, outage, world
from tests.integration.sites import debian, site
from tests.integration.states import open_state, state, state_template, state_url

__all__ = [
    "debian",
    "fleet_database",
    "log_in_as",
    "make_daemon",
    "make_job",
    "open_state",
    "outage",
    "site",
    "state",
    "state_template",
    "state_url",
    "store",
    "world",
]
