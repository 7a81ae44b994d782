"""The README says what the code does."""

import re
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


def runbooks(readme: str) -> dict[str, str]:
    """The text of each runbook by its alert."""
    section = readme.partition("\n## Runbooks\n")[2].partition("\n## ")[0]
    titled = [block.partition("\n") for block in re.split(r"^#### ", section, flags=re.MULTILINE)[1:]]
    assert len({title for title, _, _ in titled}) == len(titled)
    return {title: text.strip() for title, _, text in titled}


def test_every_alert_has_a_runbook_and_every_runbook_an_alert(readme: str) -> None:
    assert sorted(runbooks(readme), key=str.lower) == ALERTS


def test_every_runbook_says_what_it_means_what_custode_does_and_what_you_do(readme: str) -> None:
    asks = {
        rule.name: dict(rule.labels)["action"].source
        for group in load_shipped()
        for rule in group.rules
        if isinstance(rule, AlertRule) and "action" in dict(rule.labels)
    }
    for alert, text in runbooks(readme).items():
        meaning, custode, you = text.split("\n\n")
        assert meaning[0].isalpha() or meaning[0] == "`", alert
        assert custode.startswith("**Custode** "), alert
        assert you.startswith("**You:** "), alert
        for part in (meaning, custode, you):
            assert part.endswith((".", ")", "?")), f"{alert}: {part}"
        does = " ".join(custode.split())
        if alert in asks:
            assert f"`{asks[alert]}`" in does, alert
        else:
            assert re.search(r"chang(es|ing) nothing", does), alert


def test_every_alert_links_to_its_runbook() -> None:
    for group in load_shipped():
        for rule in group.rules:
            if isinstance(rule, AlertRule):
                link = dict(rule.annotations)["runbook_url"].source
                assert link.endswith(f"README.md#{rule.name.lower()}")
