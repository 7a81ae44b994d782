"""How figures and moments are written on pages."""

import pytest

from daemon.page.format import ago, duration, iso, moment, number, percent, size

AT = 1_796_040_157.0
UNKNOWN = "–"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, UNKNOWN),
        (0, "0s"),
        (0.0404, "40ms"),
        (0.9999, "1s"),
        (1.54, "1.5s"),
        (9.97, "10s"),
        (59.6, "1m"),
        (200, "3m20s"),
        (7200, "2h"),
        (2 * 86_400 + 5 * 3600 + 59, "2d5h"),
        (400 * 86_400, "400d"),
        (-90, "-1m30s"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("distance", "text"),
    [(0.4, "now"), (40, "40s ago"), (643, "10m ago"), (11_430, "3h10m ago"), (-90_000, "in 1d1h"), (-5, "in 5s")],
)
def test_moments_are_told_from_now_on(distance: float, text: str) -> None:
    assert ago(AT - distance, AT) == text
    assert ago(None, AT) == UNKNOWN


def test_moments_are_told_exactly() -> None:
    assert moment(AT) == "2026-11-30 12:02:37 UTC"
    assert iso(AT) == "2026-11-30T12:02:37Z"
    assert moment(None) == UNKNOWN


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, UNKNOWN),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (512 * 2**20, "512 MiB"),
        (1.5 * 2**30, "1.5 GiB"),
        (3 * 2**50, "3072 TiB"),
        (-2048, "-2 KiB"),
    ],
)
def test_bytes_are_told_in_binary_units(count: float | None, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (None, UNKNOWN),
        (0, "0%"),
        (0.0002, "<0.1%"),
        (0.0356, "3.6%"),
        (0.124, "12%"),
        (0.953, "95.3%"),
        (0.9995, ">99.9%"),
        (1, "100%"),
        (1.5, "150%"),
    ],
)
def test_a_ratio_is_never_rounded_to_all_or_nothing(ratio: float | None, text: str) -> None:
    assert percent(ratio) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, UNKNOWN),
        (1_234_567, "1,234,567"),
        (0.95123, "0.9512"),
        (1234.56, "1,234.6"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text
