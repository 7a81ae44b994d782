"""Debian's Prometheus on the series of the rules benchmark: scrapes them from a small page and evaluates the rules."""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

from tests.bench.rules_load import INTERVAL, Page
from tests.bench.rules_ours import Counts

PROMETHEUS = Path("/usr/bin/prometheus")
WITHOUT_RULES = 0.3  # of the time; the last 60 % of it are measured
MEASURED = 0.45  # of the time with rules, the last part
DISTANT = 3.0, 14.0  # seconds from a scrape to the evaluation that is surely after it and before the next


@contextmanager
def served(page: Page) -> Iterator[int]:
    """The port where the page can be read."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page.read()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(slots=True)
class Peer:
    """A running Prometheus, its directory and where it listens."""

    process: psutil.Process
    directory: Path
    address: str
    target: int

    def configure(self, rules: Path | None) -> None:
        text = (
            f"global: {{scrape_interval: {INTERVAL:g}s, scrape_timeout: 14s, evaluation_interval: {INTERVAL:g}s}}\n"
            f"rule_files: {json.dumps([str(rules)] if rules else [])}\n"
            f"scrape_configs: [{{job_name: pg, honor_labels: true, static_configs: "
            f'[{{targets: ["127.0.0.1:{self.target}"]}}]}}]\n'
        )
        (self.directory / "prometheus.yml").write_text(text)

    def reload(self) -> None:
        urllib.request.urlopen(urllib.request.Request(f"{self.address}/-/reload", method="POST"), timeout=30).close()

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/-/ready", timeout=1):
                return True
        except OSError:
            return False

    def query(self, text: str, at: float | None = None) -> list[dict[str, Any]]:
        asked = urllib.parse.urlencode({"query": text} | ({} if at is None else {"time": f"{at:.3f}"}))
        with urllib.request.urlopen(f"{self.address}/api/v1/query?{asked}", timeout=60) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return result

    def times(self, series: str) -> list[float]:
        """The times of all samples of one series, in unix seconds."""
        return [float(at) for one in self.query(f"{series}[1d]") for at, _ in one["values"]]

    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return times.user + times.system

    def own(self, name: str) -> float | None:
        """One of its metrics about rules, of the group or summed over all groups; None without rules."""
        with urllib.request.urlopen(f"{self.address}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        found = [float(line.split()[-1]) for line in lines if line.startswith(f"prometheus_rule_{name}{{")]
        return sum(found) if found else None

    def observe(self, seconds: float) -> Observation:
        """Look on for so long, in whole intervals."""
        intervals = max(1, round(seconds / INTERVAL))
        used, done, began = self.cpu_seconds(), self.own("evaluations_total"), time.monotonic()
        durations = []
        for number in range(1, intervals + 1):
            time.sleep(max(0.0, began + number * INTERVAL - time.monotonic()))
            durations.append(self.own("group_last_duration_seconds") or 0.0)
        used, passed = self.cpu_seconds() - used, (time.monotonic() - began) / INTERVAL
        evaluations = (self.own("evaluations_total") or 0.0) - (done or 0.0)
        return Observation(used, passed, evaluations, statistics.median(durations))


@dataclass(frozen=True, slots=True)
class Observation:
    """CPU seconds in some intervals, how many rules were evaluated, and how long a group took by the clock."""

    cpu: float
    intervals: float
    evaluations: float
    duration: float


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


@contextmanager
def prometheus(directory: Path, target: int) -> Iterator[Peer]:
    port = free_port()
    command = [
        str(PROMETHEUS),
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-lifecycle",
        "--log.level=warn",
    ]
    peer = Peer(psutil.Process(), directory, f"http://127.0.0.1:{port}", target)
    peer.configure(None)
    with subprocess.Popen(command, stdout=sys.stderr) as process:
        try:
            peer.process = psutil.Process(process.pid)
            while not peer.ready():
                if process.poll() is not None:
                    raise RuntimeError(f"prometheus ended at once with {process.returncode}")
                time.sleep(0.1)
            yield peer
        finally:
            process.terminate()


def start_rules(peer: Peer, rules: Path, say: Any) -> float:
    """Load the rules; returns the time of their first evaluation.

    When a group is evaluated depends on its file's path: another one is tried until it is not during a scrape.
    """
    last = 0.0
    for number in range(10):
        link = peer.directory / f"rules-{number}.yml"
        link.symlink_to(rules.resolve())
        peer.configure(link)
        peer.reload()
        reloaded = time.time()
        while last < reloaded:
            time.sleep(1.0)
            last = max(peer.times("job:gauge:avg"), default=0.0)
        distance = (last - peer.times(one_series())[0]) % INTERVAL
        say(f"the rules are evaluated {distance:.1f} s after a scrape")
        if DISTANT[0] <= distance <= DISTANT[1]:
            break
    return last


def one_series() -> str:
    return 'pg_info{instance="db0000.example.net:5432"}'


def counts(peer: Peer, at: float) -> Counts:
    """What became of each rule at the time of an evaluation."""
    found: Counts = {}
    with urllib.request.urlopen(f"{peer.address}/api/v1/rules", timeout=60) as answer:
        rules = json.load(answer)["data"]["groups"][0]["rules"]
    for rule in rules:
        assert not rule.get("lastError"), (rule["name"], rule["lastError"])
        found[rule["name"]] = {}
        if rule["type"] == "recording":
            for figure, function in (("series", "count"), ("sum", "sum")):
                for one in peer.query(f"{function}({rule['name']})", at):
                    found[rule["name"]][figure] = float(one["value"][1])
    for one in peer.query("count by (alertname, alertstate) (ALERTS)", at):
        found[one["metric"]["alertname"]][one["metric"]["alertstate"]] = float(one["value"][1])
    return found


@dataclass(frozen=True, slots=True)
class Course:
    """What Prometheus did: figures, when it scraped and evaluated, and what came of it."""

    figures: dict[str, float]
    landings: list[float]
    evaluations: list[float]
    counts: Counts


def run(directory: Path, rules: Path, size: int, minutes: float, say: Any) -> Course:
    """Scrape without rules first, so that what the rules cost is known by itself, then with them."""
    page, seconds = Page(size), minutes * 60.0
    with served(page) as target, prometheus(directory, target) as peer:
        first = seconds * WITHOUT_RULES
        time.sleep(first * 0.4)
        alone = peer.observe(first * 0.6)
        scraping = alone.cpu / alone.intervals
        say(f"without rules: {scraping:.2f} CPU seconds an interval")
        begun = time.monotonic()
        since = start_rules(peer, rules, say)
        left = seconds - first
        time.sleep(max(0.0, begun + left * (1 - MEASURED) - time.monotonic()))
        both = peer.observe(left * MEASURED)
        # on a busy machine it misses evaluations: what one costs is the measure, not what an interval costs
        groups = both.evaluations / (peer.own("group_rules") or 1.0)
        evaluating = (both.cpu - scraping * both.intervals) / groups
        say(f"with rules: {both.cpu:.1f} CPU seconds, {groups:.1f} evaluations in {both.intervals:.1f} intervals")
        figures = {
            "prometheus_cpu_seconds": evaluating,
            "prometheus_cpu_with_scrape_seconds": evaluating + scraping,
            "prometheus_wall_seconds": both.duration,
            "prometheus_evaluations_missed_ratio": max(0.0, 1.0 - groups / both.intervals),
            "prometheus_rss_mb": peer.process.memory_info().rss / 2**20,
        }
        landings = peer.times(one_series())
        evaluations = [at for at in peer.times("job:gauge:avg") if since <= at]
        if len(landings) != page.steps:
            say(f"of {page.steps} scrapes {len(landings)} were stored: the comparison of results means nothing")
        return Course(figures, landings, evaluations, counts(peer, evaluations[-1]))
