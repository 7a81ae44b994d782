"""How the command behaves in a shell: pipes, signals, colour, completion, the health of a daemon."""

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.acceptance.conftest import CUSTODE, custode, until

CONFIGURATION = """\
data_dir: data
listen: 127.0.0.1:0
environments:
  qa: {tier: qa, dsn: "postgresql://custode@127.0.0.1:1/app"}
  quality: {tier: qa, dsn: "postgresql://custode@127.0.0.1:1/app"}
"""
ESCAPE = "\x1b["


@pytest.fixture
def config() -> Iterator[Path]:
    """In a directory that the embedded server's own user can reach; pytest's is closed to others."""
    with tempfile.TemporaryDirectory(prefix="custode-manners-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "custode.yml"
        path.write_text(CONFIGURATION)
        yield path


@pytest.fixture
def daemon(config: Path) -> Iterator[subprocess.Popen[str]]:
    """A daemon that is healthy."""
    path = config.parent / "log"
    with path.open("w") as log:
        process = subprocess.Popen([CUSTODE, "run", "-c", config], stdout=log, stderr=log, text=True)
    try:
        until(lambda: process.poll() is not None or custode("healthy", "-c", config).returncode == 0, "it is healthy")
        assert process.poll() is None, path.read_text()
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=60)


def shell(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    environment = plain | {"PATH": f"{CUSTODE.parent}:{os.environ['PATH']}"} | variables
    command = ["bash", "-o", "pipefail", "-c", line]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)


def test_a_reader_that_goes_away_is_no_error() -> None:
    for arguments in (["list"], ["list", "rules", "--json"], ["check", "--example"], ["--help"]):
        reader, writer = os.pipe()
        os.close(reader)
        command = [str(CUSTODE), *arguments]
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
        os.close(writer)
        assert (done.returncode, done.stderr) == (141, ""), arguments


def test_colour_is_for_terminals_and_for_who_wants_it(config: Path) -> None:
    assert ESCAPE not in shell(f"custode check -c {config}").stdout
    in_terminal = f'script -qec "custode check -c {config}" /dev/null'
    assert ESCAPE in shell(in_terminal, TERM="xterm-256color").stdout
    plain = shell(in_terminal, TERM="xterm-256color", NO_COLOR="1").stdout
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", plain), "colour in spite of NO_COLOR"


def test_lines_are_not_cut_for_a_program_that_reads() -> None:
    lines = shell("custode list rules").stdout.splitlines()
    assert max(map(len, lines)) > 80
    assert max(map(len, shell("custode list rules", COLUMNS="60").stdout.splitlines())) <= 60


@pytest.mark.parametrize("arguments", [["no-such-command"], ["status", "--no-such"], ["act"], ["list", "no-such-kind"]])
def test_what_cannot_be_understood_is_said_on_stderr(arguments: list[str]) -> None:
    done = custode(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "custode" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_a_command_at_once(daemon: subprocess.Popen[str], config: Path) -> None:
    assert daemon.poll() is None
    command = [str(CUSTODE), "ledger", "--follow", "-c", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        until(following.stdout.readline, "the ledger is printed")
        following.send_signal(signal.SIGINT)
        _, errors = following.communicate(timeout=20)
    assert (following.returncode, errors) == (130, "")


def test_healthy_follows_the_daemon(daemon: subprocess.Popen[str], config: Path) -> None:
    until(lambda: custode("healthy", "--ready", "-c", config).returncode == 0, "the daemon is ready")
    assert custode("healthy", "-c", config).stdout == "Custode is healthy.\n"
    # it outlives a configuration that somebody breaks
    config.write_text(CONFIGURATION + "nonsense: true\n")
    assert custode("healthy", "-c", config).returncode == 0
    daemon.terminate()
    assert daemon.wait(timeout=60) == 0
    done = custode("healthy", "-c", config)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no daemon answers at" in done.stderr


def completed(*words: str, **variables: str) -> list[str]:
    """What bash offers for the last word."""
    asked: Mapping[str, str] = {
        "_CUSTODE_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["custode", *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = shell("custode", **asked, **variables)
    assert done.stderr == ""
    return done.stdout.split()


def test_commands_and_options_are_completed() -> None:
    assert completed("back") == ["backup", "backups"]
    assert completed("backups", "pr") == ["prune"]
    assert "--dry-run" in completed("backup", "--")


def test_names_are_completed(config: Path) -> None:
    variables = {"CUSTODE_CONFIG": str(config)}
    assert completed("backup", "q", **variables) == ["qa", "quality"]
    assert completed("act", "vacuum", "-c", str(config), "qu") == ["quality"]
    assert completed("act", "vac", **variables) == ["vacuum", "vacuum_full"]


def test_completion_is_silent_where_there_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken.yml").write_text("environments: [")
    for path in (tmp_path / "none.yml", tmp_path / "broken.yml"):
        assert completed("backup", "q", CUSTODE_CONFIG=str(path)) == []
        assert completed("actions", "show", "x", CUSTODE_CONFIG=str(path)) == []


def test_runs_of_the_daemon_are_completed(daemon: subprocess.Popen[str], config: Path) -> None:
    assert daemon.poll() is None
    asked = custode("act", "analyze", "qa", "--detach", "-c", config)
    assert asked.returncode == 0, asked.stderr
    (run,) = re.findall(r"^(\S+)  ", asked.stdout)[:1]
    assert run in completed("actions", "show", run[:2], CUSTODE_CONFIG=str(config))
    assert completed("actions", "approve", run, CUSTODE_CONFIG=str(config)) == []


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_the_shells_are_given_a_script(name: str) -> None:
    done = shell(f"custode --show-completion {name}", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "_CUSTODE_COMPLETE" in done.stdout


def test_the_unit_is_that_of_this_installation() -> None:
    done = custode("service")
    assert f"ExecStart={CUSTODE} run" in done.stdout
