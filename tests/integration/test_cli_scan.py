"""`custode data scan` asks the daemon for the action."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemon.actions.request import Result as Ended
from daemon.cli._main import build
from tests.integration.action_site import Site, served


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("CUSTODE_TOKEN", "CUSTODE_URL"):
        monkeypatch.delenv(name, raising=False)
    with served(tmp_path) as site:
        site.port.known = frozenset({"scan_data"})
        yield site


@pytest.mark.parametrize(
    ("words", "parameters"),
    [
        ((), {}),
        (("-d", "app", "--rows", "500", "--no-people"), {"datname": "app", "rows": 500, "people": False}),
    ],
    ids=["all", "a part"],
)
def test_what_is_asked_for(site: Site, words: tuple[str, ...], parameters: dict[str, object]) -> None:
    words = ("data", "scan", "qa", *words, "--reason", "audit", "-c", str(site.config))
    result = CliRunner().invoke(build(words), words)
    assert result.exit_code == 0, result.output
    run = next(iter(site.port.details.values())).run
    assert (run.action, run.environment, run.reason, run.parameters) == ("scan_data", "qa", "audit", parameters)


def test_personal_data_is_exit_status_1(site: Site) -> None:
    site.port.result = Ended.NOT_FIXED
    words = ("data", "scan", "qa", "-c", str(site.config))
    assert CliRunner().invoke(build(words), words).exit_code == 1
