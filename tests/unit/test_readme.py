"""The README says what the code does."""

from pathlib import Path

import pytest

from daemon.reference import PARTS, filled
from rules import AlertRule, load_shipped

README = Path(__file__).parents[2] / "README.md"
ALERTS = sorted(
    {rule.name for group in load_shipped() for rule in group.rules if isinstance(rule, AlertRule)}, key=str.lower
)


@pytest.fixture(scope="module")
def readme() -> str:
    if not README.exists():
        pytest.skip("the README is not part of an installed wheel")
    return README.read_text(encoding="utf-8")


def test_the_generated_parts_are_up_to_date(readme: str) -> None:
    assert filled(readme) == readme, "run `make docs`"


def test_a_missing_part_is_an_error() -> None:
    with pytest.raises(ValueError, match=f"0 parts called {next(iter(PARTS))}"):
        filled("no parts here")


def test_every_alert_has_a_runbook_and_every_runbook_an_alert(readme: str) -> None:
    runbooks = readme.partition("## Runbooks")[2].partition("\n## ")[0]
    titles = [line.removeprefix("#### ") for line in runbooks.splitlines() if line.startswith("#### ")]
    assert sorted(titles, key=str.lower) == ALERTS


def test_every_alert_links_to_its_runbook() -> None:
    for group in load_shipped():
        for rule in group.rules:
            if isinstance(rule, AlertRule):
                link = dict(rule.annotations)["runbook_url"].source
                assert link.endswith(f"README.md#{rule.name.lower()}")
