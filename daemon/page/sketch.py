"""A small chart that needs no script: how long restores took, over time. Coordinates of an SVG; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from daemon.views.recovery import RestoreTest

WIDTH, HEIGHT = 220.0, 48.0
_EDGE = 5.0  # so that marks are not cut off


@dataclass(frozen=True, slots=True)
class Mark:
    x: float
    y: float
    test: RestoreTest


@dataclass(frozen=True, slots=True)
class Sketch:
    """`line` joins the proven ones, as the points of a polyline; `limit` is the height of what is promised."""

    width: float
    height: float
    marks: tuple[Mark, ...]
    line: str
    limit: float | None
    longest: float | None

    @property
    def proven(self) -> int:
        return sum(mark.test.proven for mark in self.marks)


def restore_times(tests: Sequence[RestoreTest], promised: float | None, scale: float = 1.0) -> Sketch | None:
    """From the first to the last test, from zero to what took longest; a test that failed stands at the foot.

    `promised` seconds are drawn where they are not far above all that was measured. None for less than two tests.
    """
    if len(tests) < 2:
        return None
    width, height = WIDTH * scale, HEIGHT * scale
    measured = [test.seconds for test in tests if test.proven and test.seconds is not None]
    longest = max(measured, default=None)
    drawn = promised if promised and longest and promised <= 4 * longest else None
    top = max(longest or 0.0, drawn or 0.0) or 1.0
    first, span = tests[0].at, tests[-1].at - tests[0].at

    def across(at: float) -> float:
        return round(width / 2 if span <= 0 else _EDGE + (width - 2 * _EDGE) * (at - first) / span, 1)

    def up(seconds: float) -> float:
        return round(height - _EDGE - (height - 2 * _EDGE) * seconds / top, 1)

    marks = tuple(Mark(across(test.at), up(test.seconds or 0.0 if test.proven else 0.0), test) for test in tests)
    line = " ".join(f"{mark.x},{mark.y}" for mark in marks if mark.test.proven)
    return Sketch(width, height, marks, line, None if drawn is None else up(drawn), longest)
