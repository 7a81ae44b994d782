"""Fixtures of the integration tests that live in files of their own."""

from tests.integration.sites import debian, site

__all__ = ["debian", "site"]
