"""Parts of the date (UTC) that each value, unix seconds, stands for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rules.promql.vector import Floats

Integers = NDArray[np.int64]

_DAY = 86400
# Go turns what is no int64 (NaN, infinities, too large numbers) into the smallest one, on amd64. As a time that is
# 292277026596-12-04 15:30:08, because Go counts seconds modulo 2**64.
_LOST = np.int64(2**63 // _DAY), np.int64(2**63 % _DAY)


def _days_and_seconds(values: Floats) -> tuple[Integers, Integers]:
    """Days since 1970 and the seconds of that day."""
    lost = ~(np.abs(values) < 2.0**63)
    whole = np.where(lost, 0, values).astype(np.int64)  # towards zero, as in Go
    days, seconds = np.divmod(whole, _DAY)
    return np.where(lost, _LOST[0], days), np.where(lost, _LOST[1], seconds)


def _days(values: Floats) -> Integers:
    return _days_and_seconds(values)[0]


def _seconds(values: Floats) -> Integers:
    return _days_and_seconds(values)[1]


def _dates(values: Floats) -> NDArray[np.datetime64]:
    return _days(values).astype("datetime64[D]")


def _since(dates: NDArray[Any], unit: str) -> Integers:
    """Days since the beginning of the month or year."""
    passed: Integers = (dates - dates.astype(f"datetime64[{unit}]").astype("datetime64[D]")).astype(np.int64)
    return passed


def _floats(integers: NDArray[Any]) -> Floats:
    return integers.astype(np.float64)


def _days_in_month(values: Floats) -> Floats:
    months = _dates(values).astype("datetime64[M]")
    after = (months + np.timedelta64(1, "M")).astype("datetime64[D]")
    return _floats(after - months.astype("datetime64[D]"))


def _day_of_month(values: Floats) -> Floats:
    return _floats(_since(_dates(values), "M") + 1)


def _day_of_week(values: Floats) -> Floats:
    return _floats((_days(values) + 4) % 7)  # 1970 began on a Thursday


def _day_of_year(values: Floats) -> Floats:
    return _floats(_since(_dates(values), "Y") + 1)


def _hour(values: Floats) -> Floats:
    return _floats(_seconds(values) // 3600)


def _minute(values: Floats) -> Floats:
    return _floats(_seconds(values) // 60 % 60)


def _month(values: Floats) -> Floats:
    return _floats(_dates(values).astype("datetime64[M]").astype(np.int64) % 12 + 1)


def _year(values: Floats) -> Floats:
    return _floats(_dates(values).astype("datetime64[Y]").astype(np.int64) + 1970)


DATES: dict[str, Callable[[Floats], Floats]] = {
    "days_in_month": _days_in_month,
    "day_of_month": _day_of_month,
    "day_of_week": _day_of_week,
    "day_of_year": _day_of_year,
    "hour": _hour,
    "minute": _minute,
    "month": _month,
    "year": _year,
}
