"""The page that people look at: HTML that works without scripts, and follows what happens where there are."""

from daemon.page._routes import page_routes
from daemon.page.live import Live, Topic
from daemon.page.sources import Sources

__all__ = ["Live", "Sources", "Topic", "page_routes"]
