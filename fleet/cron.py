"""Times in the notation of crontab, in a time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from apscheduler.triggers.cron import CronTrigger

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_STEP = timedelta(microseconds=1)


class Cron:
    """Five fields: minute, hour, day of month, month, day of week (0 and 7 are Sunday), with the meaning of cron.

    Where both days are restricted, either suffices. With a fixed hour, a time that the clock skips comes as long after
    the skip as it would have come without, and one that the clock repeats comes once.

    Raises:
        ValueError: the expression cannot be read or never comes; the zone is unknown.
    """

    def __init__(self, expression: str, timezone: str) -> None:
        from apscheduler.triggers.cron import CronTrigger  # a tenth of a second that who has no schedule shall not pay

        fields = expression.split()
        if len(fields) != 5:
            raise ValueError(f"must have 5 fields (minute, hour, day, month, day of week), not {len(fields)}")
        minute, hour, day, month, weekday = fields
        weekday = _weekdays(weekday)
        both = not day.startswith("*") and not weekday.startswith("*")
        days = [(day, "*"), ("*", weekday)] if both else [(day, weekday)]
        zone = ZoneInfo(timezone)
        self._triggers = [
            CronTrigger(minute=minute, hour=hour, day=one, month=month, day_of_week=week, timezone=zone)
            for one, week in days
        ]
        self._once = not hour.startswith("*")
        if self.next(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) is None:
            raise ValueError("never comes: no month has such a day")

    def next(self, after: float) -> float | None:
        """The first moment later than `after`, in unix seconds."""
        found = [one for trigger in self._triggers if (one := self._next(trigger, after)) is not None]
        return min(found, default=None)

    def _next(self, trigger: CronTrigger, after: float) -> float | None:
        moment = datetime.fromtimestamp(after, UTC)
        while True:
            found: datetime | None = trigger.get_next_fire_time(None, moment + _STEP)
            if found is None or not (self._once and found.fold):
                return None if found is None else found.timestamp()
            moment = found.astimezone(UTC)

    def latest(self, after: float, until: float) -> float | None:
        """The last moment later than `after` and not later than `until`, in unix seconds."""
        span = 60.0
        while True:
            start = max(after, until - span)
            found, moment = None, self.next(start)
            while moment is not None and moment <= until:
                found, moment = moment, self.next(moment)
            if found is not None or start <= after:
                return found
            span *= 4


def _weekdays(field: str) -> str:
    """The field in the words of APScheduler, whose numbers begin with Monday."""
    if field == "*":
        return field
    days = sorted({day for part in field.lower().split(",") for day in _range(part)})
    return ",".join(_DAYS[day] for day in days)


def _range(part: str) -> list[int]:
    days, _, step = part.partition("/")
    first, dash, last = days.partition("-")
    if (not step.isdecimal() and "/" in part) or step == "0":
        raise ValueError(f"{part!r} is no day of week")
    if days == "*":
        begin, end = 0, 6
    else:
        begin = _day(first)
        end = _day(last) if dash else begin
        if end < begin and end == 0:  # sat-sun
            end = 7
    if end < begin:
        raise ValueError(f"{part!r} ends before it begins")
    return [day % 7 for day in range(begin, end + 1, int(step or 1))]


def _day(word: str) -> int:
    if word in _DAYS:
        return _DAYS.index(word)
    if len(word) == 1 and word in "01234567":
        return int(word)
    raise ValueError(f"{word!r} is no day of week; write 0 to 7 (0 and 7 are Sunday), or sun to sat")
