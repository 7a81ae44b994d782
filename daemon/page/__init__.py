"""The page that people look at: HTML that works without scripts, and follows what happens where there are."""

from daemon.page._routes import page_routes
from daemon.page.sources import Sources

__all__ = ["Sources", "page_routes"]
