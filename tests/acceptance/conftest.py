"""The demonstration as a process, started once for all acceptance tests."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.acceptance.browser import Tabs

CUSTODE = Path(sys.executable).with_name("custode")
ROWS = 2000  # the default; with fewer some planted faults are too small to be one


def custode(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the installed command to its end."""
    command = [str(CUSTODE), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


def until(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Ask again and again until `condition` gives something true; fail with `what` when time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.1)
    pytest.fail(f"not within {seconds:g} s: {what}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class RunningDemo:
    """A `custode demo` under way; `lines` is what it has printed so far."""

    directory: Path
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    ready_seconds: float = 0.0
    reader: threading.Thread | None = None

    @classmethod
    def start(cls, directory: Path) -> RunningDemo:
        began = time.monotonic()
        command = [str(CUSTODE), "demo", "--rows", str(ROWS), "--keep", str(directory)]
        errors = directory / "stderr.txt"
        with errors.open("w") as stderr:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
        demo = cls(directory, process)
        demo.reader = threading.Thread(target=demo._read)
        demo.reader.start()
        until(lambda: demo.lines or process.poll() is not None, "the demonstration prints its address", 120)
        if process.poll() is not None:
            pytest.fail(f"the demonstration ended: {errors.read_text()}")
        until(lambda: demo.answers("/-/ready"), "the demonstration is ready")
        demo.ready_seconds = time.monotonic() - began
        return demo

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as printed:
            for line in printed:
                self.lines.append(line.rstrip())

    @property
    def address(self) -> str:
        return self.lines[0]

    @property
    def config(self) -> Path:
        return self.directory / "custode.yml"

    def answers(self, path: str) -> bool:
        try:
            self.get(path)
        except OSError:
            return False
        return True

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.address + path, timeout=10) as response:
            text: str = response.read().decode()
        return text

    def status(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.get("/api/v1/status"))["data"]
        return data

    def alerts(self) -> set[tuple[str, str]]:
        """(environment, alert) of what is firing."""
        return {(alert["environment"], alert["name"]) for alert in self.status()["alerts"] if alert["firing"]}

    def stop(self) -> int:
        """Ctrl-C; returns the exit status."""
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(timeout=60)
        if self.reader is not None:
            self.reader.join()
        return status


@pytest.fixture(scope="session")
def demo() -> Iterator[RunningDemo]:
    directory = Path(tempfile.mkdtemp(prefix="custode-acceptance-", dir="/tmp"))
    directory.chmod(0o755)
    running = RunningDemo.start(directory)
    yield running
    if running.process.poll() is None:
        running.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Not longer than a module: its event loop is the thread's meanwhile, and asynchronous tests could not run."""
    from tests.acceptance.browser import chromium

    with chromium() as found:
        yield found


@pytest.fixture
def tabs(browser: Browser, demo: RunningDemo) -> Iterator[Tabs]:
    """Tabs that look at the demonstration; what a page of ours should not do fails the test."""
    from tests.acceptance.browser import Tabs

    opened = Tabs(browser, demo)
    yield opened
    opened.close()
    assert opened.faults == []
