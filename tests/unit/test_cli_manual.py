"""The help of every command: a sentence, examples that the real parser takes, what the exit status says."""

import glob
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from daemon.cli._complete import VARIABLE, words
from daemon.cli._main import build
from daemon.cli._manual import EXAMPLES, EXIT_STATUS
from daemon.reference._errors import error_kinds, errors_reference
from tests.unit.commands import ROOT, SUMMARIES

PROJECT = Path(__file__).parents[2]


def walk(command: Any = ROOT, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, below in command.commands.items():
        here = f"{path} {name}".strip()
        if hasattr(below, "commands"):
            yield from walk(below, here)
        else:
            yield here, below


COMMANDS = dict(walk())


def test_every_command_has_examples_and_every_example_a_command() -> None:
    assert len(COMMANDS) > 40
    assert COMMANDS.keys() == EXAMPLES.keys()


def test_the_first_help_has_a_short_sentence_for_each_command() -> None:
    assert SUMMARIES.keys() == {name.partition(" ")[0] for name in COMMANDS}
    for summary in SUMMARIES.values():
        assert summary[0].isupper(), summary
        assert summary.endswith("."), summary
        assert len(summary) <= 60, f"{summary} is cut off at 80 columns"


def test_a_command_behind_an_option_is_the_command_itself() -> None:
    for called in (["--", "token"], ["token"]):
        root: Any = get_command(build(called))
        assert [name for name, command in root.commands.items() if command.epilog] == ["token"]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_it_does_how_and_what_its_status_means(name: str) -> None:
    command = COMMANDS[name]
    sentence = command.help.partition("\n\n")[0]
    assert sentence[0].isupper(), sentence
    assert sentence.endswith("."), sentence
    assert EXAMPLES[name], name
    shown = command.get_help(command.make_context(name, [], resilient_parsing=True))
    for line in (*EXAMPLES[name], *EXIT_STATUS.values()):
        assert line in shown
    for parameter in command.params:
        assert parameter.name == "help" or parameter.help, f"{name}: {parameter.name}"


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_every_example_is_parsed(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # files that an example names are those of the checkout
    monkeypatch.chdir(PROJECT)
    words = []
    for word in shlex.split(line):
        if word in {"|", ">"}:  # the shell's
            break
        words += sorted(glob.glob(word)) if "*" in word else [word]  # noqa: PTH207 - as the shell does
    assert words.pop(0) == "custode"
    command: Any = ROOT
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    assert line in EXAMPLES[next(name for name, known in COMMANDS.items() if known is command)]
    command.make_context("custode", words)


def test_an_example_of_a_wrong_option_would_be_refused() -> None:
    with pytest.raises(Exception, match="No such option"):
        COMMANDS["status"].make_context("status", ["--no-such"])


def test_completion_loads_the_command_alone_whose_words_are_whole() -> None:
    assert words({}, ["backups", "list"]) == ["backups", "list"]
    assert words({VARIABLE: "complete_bash", "COMP_WORDS": "custode backup"}, []) == []
    assert words({VARIABLE: "complete_bash", "COMP_WORDS": "custode backup ''"}, []) == ["backup"]
    assert words({VARIABLE: "complete_zsh", "_TYPER_COMPLETE_ARGS": "custode act vacuum q"}, []) == ["act", "vacuum"]
    assert words({VARIABLE: "complete_zsh", "_TYPER_COMPLETE_ARGS": "custode act 'vac"}, []) == []


def test_every_error_has_a_code_of_its_own() -> None:
    kinds = error_kinds()
    assert {"CU100", "CU200", "CU600"} <= kinds.keys()
    assert all(len(code) == 5 and code.startswith("CU") for code in kinds)
    rows = errors_reference().splitlines()[2:]
    assert len(rows) == len(kinds)
    assert [row for row in rows if row.endswith("|  |")] == [], "an error without a docstring"
