"""Fixtures of the integration tests that live in files of their own."""

from tests.integration.backups import log_in_as, make_job, store
from tests.integration.engines import fleet_database, hardly_sweeps, make_daemon, outage, world
from tests.integration.migration_works import blocker, second, works
from tests.integration.refreshes import fleet
from tests.integration.restores import content, restoring
from tests.integration.s3_servers import bucket, moto_s3, proxy, seaweed
from tests.integration.sites import debian, site
from tests.integration.slack_site import make_slack, slack
from tests.integration.snapshots import snapshots
from tests.integration.states import open_state, state, state_template, state_url

__all__ = [
    "blocker",
    "bucket",
    "content",
    "debian",
    "fleet",
    "fleet_database",
    "hardly_sweeps",
    "log_in_as",
    "make_daemon",
    "make_job",
    "make_slack",
    "moto_s3",
    "open_state",
    "outage",
    "proxy",
    "restoring",
    "seaweed",
    "second",
    "site",
    "slack",
    "snapshots",
    "state",
    "state_template",
    "state_url",
    "store",
    "works",
    "world",
]
