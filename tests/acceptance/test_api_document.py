"""The API as its own document tells it: Schemathesis sends what the document allows and what it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from fleet.embedded import EmbeddedServer
from tests.acceptance.fleets import Daemon, databases, drop, environment

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
TOKEN = "anna-s3cret"  # noqa: S105 - of this test
EXAMPLES = os.environ.get("CUSTODE_EXAMPLES", "15")  # requests of a kind to each route


@pytest.fixture(scope="module")
def daemon(scratch: Path, server: EmbeddedServer) -> Iterator[Daemon]:
    names = databases(server, 2)
    settings = {
        "state": {"url": server.dsn(names[1])},
        # a wrong token is a wrong token, however often it was tried
        "access": {"attempts": 1_000_000},
        "operators": {"anna": {"token": "env:ANNA"}},
        "environments": {"qa": environment(server, names[0])},
    }
    daemon = Daemon(scratch / "api", settings, {"ANNA": TOKEN})
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()
        drop(server, names)


def test_the_document_is_one(daemon: Daemon) -> None:
    document = daemon.document()
    validate(document)
    paths = document["paths"]
    assert paths["/api/v1/actions/{id}/approve"]["post"]["requestBody"]["required"]
    assert {"/api/v1/status", "/api/v1/query", "/api/v1/silences"} <= paths.keys()


def test_every_route_does_what_the_document_says(daemon: Daemon, tmp_path: Path) -> None:
    """No server error, answers of the shape that is promised, bad input told as such, strangers refused."""
    command = [SCHEMATHESIS, "--config-file", os.devnull, "run", f"http://127.0.0.1:{daemon.port}/api/v1/openapi.json"]
    # what is well formed may still make no sense: an expression, an action, an id that nobody knows
    checks = ["--checks", "all", "--exclude-checks", "positive_data_acceptance"]
    how = ["-n", EXAMPLES, "--seed", "7", "--phases", "coverage,fuzzing", "--no-color", "--max-failures", "20"]
    done = subprocess.run(
        [*map(str, command), *checks, *how, "--header", f"Authorization: Bearer {TOKEN}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
        cwd=tmp_path,  # it keeps examples beside itself
    )
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2000:]
    # it leaves out the route of the document itself
    routes = sum(len(methods) for methods in daemon.document()["paths"].values()) - 1
    assert f"Selected: {routes}/{routes}" in done.stdout
    assert daemon.runs
    assert "Traceback" not in daemon.log.read_text()
