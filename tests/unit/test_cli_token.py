"""`custode token`: what it prints is what the configuration takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import yaml
from typer.testing import CliRunner

from daemon.cli._main import build
from daemon.config import parse
from daemon.web.access.tokens import digest_of
from daemon.web.access.web_config import read_web_config


def run(*words: str, typed: str = "", status: int = 0) -> str:
    done = CliRunner().invoke(build(["token"]), ["token", *words], input=typed)
    assert done.exit_code == status, done.output
    return done.output


def after(text: str, mark: str) -> Any:
    return yaml.safe_load(text.partition(mark)[2])


def test_a_token_and_what_to_write_for_it() -> None:
    printed = run("prometheus")
    token = next(line.split()[1] for line in printed.splitlines() if line.startswith("token:"))
    document = after(printed, "in custode.yml:\n")
    document["environments"] = {"qa": {"tier": "qa", "dsn": "env:X"}}
    known = parse(yaml.safe_dump(document), Path("custode.yml")).access.tokens["prometheus"]
    assert known.sha256 is not None
    assert known.sha256.get_secret_value() == digest_of(token).hex()
    assert known.role == "viewer"
    assert len(token) >= 43
    assert run("prometheus") != printed


def test_for_programs() -> None:
    said = json.loads(run("ci", "--json"))
    assert said["sha256"] == digest_of(said["token"]).hex()
    assert said["name"] == "ci"


def test_the_hash_of_a_password(tmp_path: Path) -> None:
    printed = run("--password", "ada", typed="città\nwhat follows is not read\n")
    (tmp_path / "web.yml").write_text(printed.partition("in web.yml:\n")[2])
    users = read_web_config(tmp_path / "web.yml").users
    assert bcrypt.checkpw("città".encode(), users["ada"].encode())
    assert "città" not in printed
    said = json.loads(run("--password", "ada", "--json", typed="x\r\n"))
    assert bcrypt.checkpw(b"x", said["bcrypt"].encode())


@pytest.mark.parametrize("typed", ["", "\n", "x" * 73 + "\n"])
def test_passwords_that_bcrypt_cannot_hold(typed: str) -> None:
    assert "it must have 1 to 72 bytes" in run("--password", "ada", typed=typed, status=2)
