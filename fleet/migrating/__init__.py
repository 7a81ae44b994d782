"""Running an application's Alembic from outside, and judging its migrations before: statements, lint, forecast."""

from fleet.migrating.application import Access, Application
from fleet.migrating.forecast import Estimate, Sizes, forecast, table_names
from fleet.migrating.idle import does_nothing
from fleet.migrating.lint import Finding, lint
from fleet.migrating.statements import Section, sections

__all__ = [
    "Access",
    "Application",
    "Estimate",
    "Finding",
    "Section",
    "Sizes",
    "does_nothing",
    "forecast",
    "lint",
    "sections",
    "table_names",
]
