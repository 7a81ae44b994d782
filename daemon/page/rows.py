"""The rows of the fleet's table as HTML: of a large fleet, few cells change from one look to the next."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from jinja2 import Template
from markupsafe import Markup

from daemon.page.frame import Frame
from daemon.status import Cell, Row

ROUGH_SECONDS = 10  # by which a time that has passed may be out of date
_MOST = 50_000  # pieces kept, some 300 bytes each


class Rows:
    """Writes what was not written before, and the time since something happened as it moves on."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._known: dict[Hashable, Markup] = {}

    async def html(self, rows: Sequence[Row], now: float) -> list[Markup]:
        """What stands in each of them, as seen from `now` (unix seconds). The event loop is not held up."""
        head, cell = [await self._frame.template(f"overview_{name}.html") for name in ("row", "cell")]
        if len(self._known) > _MOST:
            self._known.clear()
        written = ([self._head(head, row), *(self._cell(cell, one, now) for one in row.cells)] for row in rows)
        return await self._frame.slices.all(_written("".join(pieces)) for pieces in written)

    def _head(self, template: Template, row: Row) -> Markup:
        key = row.environment, row.tier
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _written(template.render(row=row))
        return known

    def _cell(self, template: Template, cell: Cell, now: float) -> Markup:
        key = cell, 0 if cell.since is None else int(now / ROUGH_SECONDS)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _written(template.render(cell=cell, now=now))
        return known


def _written(text: str) -> Markup:
    return Markup(text)  # noqa: S704 - a template has escaped it
