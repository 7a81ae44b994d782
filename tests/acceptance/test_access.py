"""Who gets in to a daemon that runs: addresses that others reach, tokens, passwords, the control socket."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from fleet.embedded import EmbeddedServer
from tests.acceptance.conftest import CUSTODE, custode, free_port, until
from tests.acceptance.fleets import Daemon, databases, drop, environment

TOKEN, ADMIN = "anna-s3cret", "admin-s3cret"
ACCOUNT = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def daemon(scratch: Path, server: EmbeddedServer) -> Iterator[Daemon]:
    names = databases(server, 2)
    folder = scratch / "access"
    settings = {
        "state": {"url": server.dsn(names[1])},
        "operators": {"anna": {"local_user": ACCOUNT, "token": "env:ANNA"}},
        "access": {"config_file": "web.yml", "tokens": {"root": {"token": "env:ADMIN", "role": "admin"}}},
        "environments": {"qa": environment(server, names[0])},
    }
    daemon = Daemon(folder, settings, {"ANNA": TOKEN, "ADMIN": ADMIN})
    hashed = bcrypt.hashpw(b"of-vera", bcrypt.gensalt(4)).decode()
    (folder / "web.yml").write_text(f"basic_auth_users: {{vera: {hashed}}}\n")
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()
        drop(server, names)


def post(daemon: Daemon, path: str, token: str | None = None) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"http://127.0.0.1:{daemon.port}{path}", b"", headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_daemon_with_people(daemon: Daemon) -> None:
    url = f"http://127.0.0.1:{daemon.port}"
    assert daemon.ask("/metrics", token="wrong")[0] == 401  # noqa: S106 - of nobody
    assert daemon.ask("/metrics", token=TOKEN)[0] == 200
    assert daemon.ask("/-/ready", token="wrong")[0] == 200  # noqa: S106 - nobody needs to be known
    # over the control socket the kernel says who asks; over TCP a token does
    assert daemon.command("actions", "list") == []
    asked = json.loads(custode("act", "analyze", "qa", "--json", "-c", str(daemon.config)).stdout)
    assert asked["run"]["requested_by"] == "anna" if "run" in asked else asked
    environment = {**os.environ, "CUSTODE_TOKEN": TOKEN}
    command = [str(CUSTODE), "actions", "list", "--url", url, "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, [run["action"] for run in json.loads(done.stdout)]) == (0, ["analyze"]), done.stderr
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "CU620" in done.stderr
    assert "CUSTODE_TOKEN" in done.stderr
    assert [post(daemon, "/-/reload", token) for token in (None, TOKEN, ADMIN)] == [401, 403, 200]
    assert daemon.custode("status").returncode in {0, 1}
    metrics = daemon.ask("/metrics")[1]
    assert 'custode_http_refusals_total{reason="token"} 1.0' in metrics
    assert 'custode_http_requests_total{code="4xx"}' in metrics
    assert not any(secret in daemon.log.read_text() + metrics for secret in (TOKEN, ADMIN, "of-vera"))


def configuration(folder: Path, listen: str, access: str = "{}", state: str = "null") -> Path:
    path = folder / "custode.yml"
    path.write_text(
        f"data_dir: {folder / 'data'}\nlisten: {listen}\naccess: {access}\nstate: {{url: {state}}}\n"
        "environments: {qa: {tier: qa, dsn: 'postgresql://nobody@127.0.0.1:1/none'}}\n"
    )
    return path


def test_an_address_that_others_reach_needs_somebody_who_is_known(tmp_path: Path) -> None:
    config = configuration(tmp_path, f"0.0.0.0:{free_port()}")
    done = custode("run", "-c", str(config))
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert "is reached by other machines, and everybody there could read all of it" in said
    assert "custode token" in said
    assert "access.insecure: true" in said
    checked = custode("check", "-c", str(config), "--json")
    assert checked.returncode == 1
    findings = [one for one in json.loads(checked.stdout)["findings"] if one["subject"] == "access"]
    assert [(one["level"], "other machines" in one["message"]) for one in findings] == [("error", True)]
    known = configuration(tmp_path, "0.0.0.0:0", "{tokens: {p: {token: env:P}}}")
    findings = json.loads(custode("check", "-c", str(known), "--json").stdout)["findings"]
    assert ("access", "ok") in {(one["subject"], one["level"]) for one in findings}


def test_unless_it_is_said_to_be_meant(tmp_path: Path, server: EmbeddedServer) -> None:
    port, names = free_port(), databases(server, 1)
    config = configuration(tmp_path, f"0.0.0.0:{port}", state=json.dumps(server.dsn(names[0])))
    process = subprocess.Popen([str(CUSTODE), "run", "--insecure", "-c", str(config)])

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/healthy", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return process.poll() is not None

    try:
        until(answers, "the daemon lives")
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(timeout=60)
        drop(server, names)
