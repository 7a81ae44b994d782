from datetime import timedelta

import pytest

from fleet.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15s", 15), ("1h30m", 5400), ("7d", 604_800), ("2w", 1_209_600), ("1y", 31_536_000), ("250ms", 0.25), ("0s", 0)],
)
def test_reads_what_prometheus_writes(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "15", "s", "1m2h", "-5m", "1.5h", "1 h", "1h ", None, 15, "1mo"])
def test_refuses_everything_else(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0s", "15s", "1h30m", "30d", "1y", "1d12h", "14d", "1s250ms"])
def test_writing_is_the_inverse_of_reading(text: str) -> None:
    assert format_duration(parse_duration(text)) == text
