"""What the README names is there: commands with their options, and all that the map of the strategy guide counts on."""

from __future__ import annotations

import re

import pytest

import actions
import collectors
from actions import Action
from collectors import Collector
from daemon.telemetry import Telemetry
from fleet.plugins import load_plugins
from rules import AlertRule, load_shipped
from tests.unit.commands import ROOT
from tests.unit.test_readme import README

ALERTS = {rule.name for group in load_shipped() for rule in group.rules if isinstance(rule, AlertRule)}
ACTIONS = set(load_plugins(actions, Action))
METRICS = {
    metric.name
    for collector in load_plugins(collectors, Collector).values()
    for family in collector.families
    for metric in family.metrics
} | {metric.name for metric in Telemetry().registry.collect()}
# what else the map sets in code: files of the guide, secret sources, kinds of stores, steps and checks of actions
OTHERS = {"s3", "local", "below", "lint", "env:", "file:", "awssm:", "vault:", "--drill"}


@pytest.fixture(scope="module")
def readme() -> str:
    if not README.exists():
        pytest.skip("the README is not part of an installed wheel")
    return README.read_text(encoding="utf-8")


def fault(line: str) -> str | None:
    """What is wrong with a command line, as far as its command and its options go."""
    command, words = ROOT, line.split()
    while words and hasattr(command, "commands"):
        name = words[0]
        if name not in command.commands:
            # `custode --help`, or words of prose after a group
            return None if name.startswith("-") and command is ROOT else f"no command {name!r} in {line!r}"
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.partition("=")[0] for word in words if word.startswith("-") and len(word) > 1}
    unknown = given - options - {"--help"}
    return f"{line!r} has no {', '.join(sorted(unknown))}" if unknown else None


def commands(text: str) -> list[str]:
    """Every command line in code."""
    inline = [
        " ".join(code.split()) for code in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    ]
    blocks = re.findall(r"^```(?:bash|sh)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [part for block in blocks for line in block.splitlines() for part in re.split(r"&&|\|", line)]
    found = [re.sub(r"^(\S*/)?custode ", "custode ", one.partition(" #")[0].strip()) for one in (*inline, *lines)]
    return [
        re.split(r" (?:[>|;]|\\\|)", one.removeprefix("custode "))[0] for one in found if one.startswith("custode ")
    ]


def test_every_command_that_it_names_exists(readme: str) -> None:
    # as an argument of docker run, or where a table names a group
    groups = {name for name, command in ROOT.commands.items() if hasattr(command, "commands")}
    named = [line for line in commands(readme) if line not in groups and line != "COMMAND --help"]
    assert len(named) > 100
    assert [problem for line in named if (problem := fault(line))] == []


def test_an_unknown_command_and_option_are_found() -> None:
    assert fault("backups lst qa") is not None
    assert fault("migrate qa --plam") is not None
    assert fault("migrate qa --plan") is None


def test_the_map_of_the_guide_names_what_there_is(readme: str) -> None:
    title = "\n## The strategy guide, section by section\n"
    section = readme.partition(title)[2].partition("\n## ")[0]
    rows = [line.split("|")[2] for line in section.splitlines() if line.startswith("| ")]
    named = {code for row in rows for code in re.findall(r"`([^`]+)`", row)}
    reference = readme.partition("<!-- configuration: begin -->")[2].partition("<!-- configuration: end -->")[0]
    keys = set(re.findall(r"^\| `([^`]+)`", reference, re.MULTILINE)) | {"environments.NAME.dsn"}
    unknown = set()
    for name in named - ALERTS - ACTIONS - METRICS - OTHERS - keys - {"/"}:
        if not name.startswith("custode ") or fault(name.removeprefix("custode ")):
            unknown.add(name)
    assert unknown == set()
    assert named >= OTHERS
    for known, least in ((ALERTS, 40), (ACTIONS, 15), (METRICS, 10), (keys, 15)):
        assert len(named & known) >= least
