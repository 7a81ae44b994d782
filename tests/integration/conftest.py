"""Fixtures of the integration tests that live in files of their own."""

from tests.integration.backups import log_in_as, make_job, store
from tests.integration.pipelines import make_pipeline, world
from tests.integration.sites import debian, site

__all__ = ["debian", "log_in_as", "make_job", "make_pipeline", "site", "store", "world"]
