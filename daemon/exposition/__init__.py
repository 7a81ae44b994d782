"""The `/metrics` page: rendered when samples land, only joined when somebody asks."""

from daemon.exposition._accept import accepts_gzip, accepts_openmetrics
from daemon.exposition._cap import cap, series
from daemon.exposition._page import Page
from daemon.exposition._text import label_value

__all__ = ["Page", "accepts_gzip", "accepts_openmetrics", "cap", "label_value", "series"]
