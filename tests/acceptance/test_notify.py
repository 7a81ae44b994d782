"""A daemon and a real Alertmanager: it pages, is silenced from the command line, and tells webhooks after kill -9."""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fleet.embedded import EmbeddedServer
from tests.acceptance.conftest import custode, free_port, until
from tests.acceptance.test_run import Daemon
from tests.integration.alertmanagers import Alertmanager, needs_alertmanager

pytestmark = needs_alertmanager
CONFIG = """\
route: {receiver: none}
receivers: [{name: none}]
"""
RULES = """\
groups:
- name: mine
  rules:
  - alert: Gone
    expr: custode_up == 0
    labels: {severity: critical}
"""
MORE = """\
  gone:
    tier: production
    dsn: postgresql://nobody@127.0.0.1:1/nothing
    tls: {{mode: disable}}
alertmanager: {{urls: ["http://127.0.0.1:{port}"], labels: {{cluster: eu}}, resend: 1s}}
notifiers: {{webhook: {{url: "http://127.0.0.1:{hook}/"}}}}
heartbeat: {{url: "http://127.0.0.1:{hook}/ping", interval: 1s}}
"""


class Hook(ThreadingHTTPServer):
    """Answers 503 as long as it is `broken`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heard: list[dict[str, Any]] = []
        self.pings = 0
        self.broken = False

    def titles(self) -> list[str]:
        return [one["title"] for one in self.heard]


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_GET(self) -> None:
        self.server.pings += 1
        self._answer(200)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/" and not self.server.broken:
            self.server.heard.append(json.loads(body))
        self._answer(503 if self.server.broken else 200)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def hook() -> Iterator[Hook]:
    serving = Hook()
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    yield serving
    serving.shutdown()
    thread.join()
    serving.server_close()


Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def run() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture
def pager(run: Run, tmp_path: Path) -> Iterator[Alertmanager]:
    (tmp_path / "alertmanager.yml").write_text(CONFIG)
    port = free_port()
    one = Alertmanager(
        port,
        [
            f"--config.file={tmp_path / 'alertmanager.yml'}",
            f"--storage.path={tmp_path / 'pager'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ],
    )
    run(one.start())
    yield one
    run(one.stop())


@pytest.fixture
def daemon(scratch: Path, server: EmbeddedServer, pager: Alertmanager, hook: Hook) -> Iterator[Daemon]:
    folder = Path(tempfile.mkdtemp(prefix="notify-", dir=scratch))
    folder.chmod(0o755)
    made = Daemon(folder, server.dsn("postgres"))
    (folder / "mine.yml").write_text(RULES)
    made.text = made.text.replace("{interval: 1s}", "{interval: 1s, files: [mine.yml]}")
    made.text += MORE.format(port=pager.port, hook=hook.server_address[1])
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def test_a_page_a_silence_and_messages_over_a_crash(daemon: Daemon, pager: Alertmanager, hook: Hook, run: Run) -> None:
    hook.broken = True
    process = daemon.start()

    def pages(name: str = "Gone") -> list[dict[str, Any]]:
        return [one for one in run(pager.get("alerts")) if one["labels"]["alertname"] == name]

    def states() -> list[str]:
        """None where a busy machine has let it run out there, until it is sent again."""
        return [page["status"]["state"] for page in pages()]

    (page,) = until(pages, "the page")
    wanted = {"environment": "gone", "tier": "production", "severity": "critical", "cluster": "eu"}
    assert wanted.items() <= page["labels"].items()
    until(lambda: pages("Watchdog"), "the alert that always fires")
    linked = page["generatorURL"].removeprefix(f"http://127.0.0.1:{daemon.port}")
    assert "<title>" in daemon.get(linked)
    shown = json.loads(daemon.get(f"/api/v1{linked}"))["data"]
    assert (shown["state"], shown["labels"]["environment"]) == ("firing", "gone")

    arguments = ("alertname=Gone", "environment=gone", "--for", "1h", "--comment", "known")
    made = custode("silence", "add", *arguments, "--json", "-c", daemon.config)
    assert made.returncode == 0, made.stderr
    silence = json.loads(made.stdout)["id"]
    until(lambda: states() == ["suppressed"], "the silence is in Alertmanager")
    listed = custode("silence", "list", "-c", daemon.config)
    assert "environment=gone" in listed.stdout
    assert custode("silence", "extend", silence, "--for", "5h", "-c", daemon.config).returncode == 0
    assert "ended" in custode("silence", "expire", silence, "-c", daemon.config).stdout
    until(lambda: states() == ["active"], "the silence has ended in Alertmanager")
    assert custode("silence", "expire", silence, "-c", daemon.config).returncode == 2
    assert custode("silence", "add", "nonsense", "-c", daemon.config).returncode == 2

    until(lambda: 'custode_outbox_failed_total{notifier="webhook"}' in daemon.get("/metrics"), "a try that failed")
    assert hook.heard == []
    process.kill()
    process.wait()
    hook.broken = False
    daemon.start()
    until(hook.titles, "what was told before the crash is told")
    until(lambda: hook.pings, "a sign of life")
    daemon.processes[-1].send_signal(signal.SIGINT)
    assert daemon.processes[-1].wait(60) == 0
    titles = [title for title in hook.titles() if title.startswith("Gone firing")]
    assert len(titles) == 1
    assert len({one["id"] for one in hook.heard}) == len(hook.heard)
