"""`custode run` as a process: start, reload, refuse, stop, and go on after kill -9."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from fleet.embedded import EmbeddedServer
from tests.acceptance.conftest import CUSTODE, custode, free_port, until

CONFIG = """\
data_dir: {data}
listen: 127.0.0.1:{port}
rules: {{interval: 1s}}
environments:
  development:
    tier: development
    dsn: {dsn}
    policy: {{disk_free_ratio: 0}}
"""


class Daemon:
    """A configuration and the processes that run with it."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.config = folder / "custode.yml"
        self.data = folder / "data"
        self.errors = folder / "stderr.txt"
        self.port = free_port()
        self.text = CONFIG.format(data=self.data, port=self.port, dsn=dsn)
        self.processes: list[subprocess.Popen[str]] = []

    def start(self) -> subprocess.Popen[str]:
        self.config.write_text(self.text)
        with self.errors.open("a") as stderr:
            command = [str(CUSTODE), "run", "-c", str(self.config)]
            process = subprocess.Popen(command, stdout=stderr, stderr=stderr, text=True)
        self.processes.append(process)
        until(lambda: process.poll() is not None or self.get("/-/ready"), "the daemon is ready")
        assert process.poll() is None, self.errors.read_text()
        return process

    def get(self, path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as response:
                text: str = response.read().decode()
        except OSError:
            return ""
        return text

    def reload(self) -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/-/reload", method="POST")
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def environments(self) -> set[str]:
        return set(re.findall(r'^custode_up\{environment="(\w+)"', self.get("/metrics"), re.MULTILINE))


@pytest.fixture
def daemon(scratch: Path, server: EmbeddedServer) -> Iterator[Daemon]:
    # pytest's own folders are closed to the user that the embedded server runs as under root
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=scratch))
    folder.chmod(0o755)
    daemon = Daemon(folder, server.dsn())
    yield daemon
    if daemon.processes[-1].poll() == 0:
        return
    if daemon.processes[-1].poll() is not None:
        daemon.start()  # only a daemon stops the server of its state that a killed one left
    daemon.processes[-1].terminate()
    assert daemon.processes[-1].wait(timeout=30) == 0


def test_it_serves_and_stops_on_sigterm(daemon: Daemon) -> None:
    process = daemon.start()
    assert daemon.environments() == {"development"}
    assert f"http://127.0.0.1:{daemon.port}" in daemon.errors.read_text()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    assert "Traceback" not in daemon.errors.read_text()


def test_a_reload_is_taken_over_whole_or_not_at_all(daemon: Daemon, server: EmbeddedServer) -> None:
    process = daemon.start()
    more = f"  qa:\n    tier: qa\n    dsn: {server.dsn()}\n"
    daemon.config.write_text(daemon.text + more + "    colour: blue\n")
    status, text = daemon.reload()
    assert status == 400
    assert "environments.qa.colour" in text
    assert daemon.environments() == {"development"}
    assert "custode_config_last_reload_successful 0.0" in daemon.get("/metrics")

    daemon.config.write_text(daemon.text + more)
    assert daemon.reload()[0] == 200
    until(lambda: daemon.environments() == {"development", "qa"}, "the new environment is watched")
    assert "custode_config_last_reload_successful 1.0" in daemon.get("/metrics")

    daemon.config.write_text(daemon.text)
    process.send_signal(signal.SIGHUP)
    until(lambda: daemon.environments() == {"development"}, "the removed environment has vanished")


def test_what_needs_a_restart_is_said(daemon: Daemon) -> None:
    daemon.start()
    daemon.config.write_text(daemon.text.replace(str(daemon.port), str(free_port())))
    status, text = daemon.reload()
    assert status == 500
    assert "listen cannot change while the daemon runs" in text
    daemon.config.write_text(daemon.text.replace("{interval: 1s}", "{interval: 1s, promql_compat: 2}"))
    status, text = daemon.reload()
    assert status == 500
    assert "rules.promql_compat cannot change while the daemon runs" in text


def test_a_second_daemon_on_the_same_data_is_refused(daemon: Daemon) -> None:
    daemon.start()
    second = custode("run", "-c", daemon.config)
    assert second.returncode == 2
    assert "held by another process" in second.stderr
    assert daemon.get("/-/healthy")


def test_alerts_go_on_after_kill_9(daemon: Daemon) -> None:
    daemon.text += "  gone:\n    tier: development\n    dsn: postgresql://custode@127.0.0.1:1/d\n"
    daemon.text = daemon.text.replace("{interval: 1s}", "{interval: 1s, files: [own.yml]}")
    daemon.config.with_name("own.yml").write_text(
        """
groups:
  - name: own
    rules:
      - {alert: Gone, expr: custode_up == 0, labels: {severity: info}}
      - {alert: GoneForLong, expr: custode_up == 0, for: 1h, labels: {severity: info}}
"""
    )

    def alerts() -> dict[str, tuple[str, str]]:
        found = json.loads(daemon.get("/api/v1/alerts") or '{"data": {"alerts": []}}')["data"]["alerts"]
        return {
            alert["labels"]["alertname"]: (alert["state"], alert["activeAt"])
            for alert in found
            if alert["labels"].get("environment") == "gone" and alert["labels"]["alertname"].startswith("Gone")
        }

    process = daemon.start()
    before = until(lambda: len(alerts()) == 2 and alerts(), "the unreachable environment is noticed")
    assert [state for state, _ in before.values()] == ["firing", "pending"]
    process.kill()  # at once: what was told is on disk already
    process.wait()
    stopped = time.time()
    daemon.start()
    after = until(lambda: len(alerts()) == 2 and alerts(), "the alerts are still there")
    assert after["Gone"] == before["Gone"]
    state, since = after["GoneForLong"]
    assert state == "pending"
    # the hour it waits goes on where it was: shifted by the stop, and not begun anew
    shift = _unix(since) - _unix(before["GoneForLong"][1])
    assert 0 <= shift < time.time() - stopped + 16


def _unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
