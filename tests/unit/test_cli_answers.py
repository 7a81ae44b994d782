"""What commands make of figures, moments and of what a daemon answers."""

from __future__ import annotations

import json
import time

import pytest

from daemon.actions.port import NotAllowedError
from daemon.cli._client import PATIENCE_SECONDS, NoDaemonError, Patience, _data, parsed, url_of
from daemon.cli._runs import RUN
from daemon.cli._words import duration, figure, moment
from daemon.config import Listen
from fleet.errors import DaemonError


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("size_bytes", 5_242_880.0, "5 MiB"),
        ("bytes", 12, "12 B"),
        ("seconds", 5400.4, "1h30m"),
        ("wait_seconds", 0.126, "130ms"),
        ("seconds", -5, "-5"),
        ("seconds", 1e300, f"{1e300:,.0f}"),
        ("dead_ratio", 0.1234, "12.3%"),
        ("rows", 1234567.0, "1,234,567"),
        ("recall", 0.98765, "0.988"),
        ("size_bytes", "NaN", "NaN"),
        ("plan", "seq scan", "seq scan"),
    ],
)
def test_a_figure_in_the_unit_of_its_name(name: str, value: float | str, shown: str) -> None:
    assert figure(name, value) == shown


def test_durations_are_as_exact_as_they_are_short() -> None:
    assert [duration(seconds) for seconds in (0.0, 0.051, 9.5, 10.4, 93_784)] == [
        "0s",
        "50ms",
        "9s500ms",
        "10s",
        "1d2h3m4s",
    ]


def test_moments_are_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Rome")
    time.tzset()
    try:
        assert moment(1_700_000_000.9) == "2023-11-14 23:13:20"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        (Listen("127.0.0.1", 1), "http://127.0.0.1:1"),
        (Listen("0.0.0.0", 2), "http://127.0.0.1:2"),  # noqa: S104 - nothing is bound
        (Listen("::1", 3), "http://[::1]:3"),
        (Listen("::", 4), "http://127.0.0.1:4"),
    ],
)
def test_where_a_daemon_is_asked(listen: Listen, url: str) -> None:
    assert url_of(listen) == url


def test_errors_come_out_as_they_went_in() -> None:
    answer = {"status": "error", "errorType": "forbidden", "error": "no\x1b[2J", "hint": "ask", "code": "CU512"}
    with pytest.raises(NotAllowedError) as caught:
        _data(json.dumps(answer).encode(), 403, "here")
    assert (caught.value.message, caught.value.hint) == ("no\\x1b[2J", "ask")
    with pytest.raises(DaemonError, match="later"):
        _data(b'{"status": "error", "error": "later", "code": "CU999"}', 500, "here")


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[]", b"\xff", b'{"status": "success"}', b'{"status": "error"}'])
def test_what_is_no_custode_is_told(raw: bytes) -> None:
    with pytest.raises(NoDaemonError, match=r"what answers at here is no Custode .* \(status 200\)"):
        _data(raw, 200, "here")


def test_an_answer_of_another_version_is_told() -> None:
    with pytest.raises(NoDaemonError, match="does not know"):
        parsed(RUN, {"id": "a"})


def test_patience_has_an_end() -> None:
    patience, error = Patience(), NoDaemonError("away")
    patience.bear(error)
    assert patience._since is not None
    patience._since -= PATIENCE_SECONDS + 1
    with pytest.raises(NoDaemonError, match="away"):
        patience.bear(error)
    patience.answered()
    patience.bear(error)
