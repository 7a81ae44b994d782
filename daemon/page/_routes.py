"""All routes of the page."""

from __future__ import annotations

from daemon.page import overview, static
from daemon.page.frame import Frame
from daemon.page.sources import Sources
from daemon.web.routes import Register, registering


def page_routes(sources: Sources) -> Register:
    frame = Frame(sources)
    return registering(
        *static.routes(),
        *overview.routes(sources, frame),
    )
