"""`custode data refresh` and `custode reset`: what they ask the daemon for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actions.refresh import Refresh
from actions.reset import Reset
from daemon.cli._main import build
from fleet.errors import CustodeError
from tests.integration.action_site import Site, served


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.delenv("CUSTODE_TOKEN", raising=False)
    monkeypatch.delenv("CUSTODE_URL", raising=False)
    with served(tmp_path) as site:
        yield site


@pytest.mark.parametrize(
    ("words", "action"),
    [
        (("data", "refresh", "qa", "--from-backup", "--keep-old"), Refresh.name),
        (("data", "refresh", "qa", "--source", "production", "--reason", "weekly"), Refresh.name),
        (("reset", "qa", "--refresh", "--source-database", "app"), Reset.name),
    ],
)
def test_the_daemon_is_asked_for_the_action(site: Site, words: tuple[str, ...], action: str) -> None:
    """This one knows only one action, and says which it was asked for."""
    result = CliRunner().invoke(build(words), [*words, "-c", str(site.config)])
    assert isinstance(result.exception, CustodeError)
    assert result.exception.message == f"there is no action '{action}'"


def test_a_preview_tells_what_the_guard_would_say(site: Site) -> None:
    words = ("data", "refresh", "qa", "--dry-run")
    result = CliRunner().invoke(build(words), [*words, "-c", str(site.config)])
    assert result.exit_code == 0, result.output
    assert "allowed" in result.output
    assert site.port.details == {}


@pytest.mark.parametrize(
    "said",
    [
        {"source": "production", "datname": "app", "source_datname": "app", "rows_from": "backup", "backup": "x"},
        {"store": "offsite", "keep_old": True, "jobs": 3},
    ],
)
def test_what_it_says_is_what_the_action_takes(said: dict[str, object]) -> None:
    Refresh().parameters().model_validate(said)
