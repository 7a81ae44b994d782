"""Fleets of daemons: `custode run` as processes, each with its configuration, asked, waited for, and killed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg

from fleet.embedded import EmbeddedServer
from tests.acceptance.conftest import CUSTODE, free_port, until

SECONDS = 60.0  # the patience of every wait
# with this a dump waits for as long as it is held: pg_dump reads sequences, and neither plans nor collectors do
MAKE_DUMP_WAIT = ("create sequence if not exists numbers", "alter sequence numbers rename to others")
FRESH = {name: {"interval": "1s"} for name in ("activity", "databases", "indexes", "server", "tables")}
_SERIES = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class Daemon:
    """A configuration, and the process that runs with it."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], variables: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.data = folder / "data"
        self.config = folder / "custode.yml"
        self.log = folder / "log.txt"
        self.told = folder / "told.jsonl"
        self.port = free_port()
        self.settings: dict[str, Any] = {
            "data_dir": str(self.data),
            "listen": f"127.0.0.1:{self.port}",
            "collectors": FRESH,
            "notifiers": {"jsonl": {"path": str(self.told)}},
            **settings,
        }
        self._variables = {**os.environ, **(variables or {}), "COLUMNS": "200"}
        self._processes: list[subprocess.Popen[bytes]] = []

    def configure(self) -> None:
        self.config.write_text(json.dumps(self.settings))

    def launch(self) -> None:
        """Start it, and do not wait."""
        self.configure()
        with self.log.open("a") as log:
            command = [str(CUSTODE), "run", "-c", str(self.config)]
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=self._variables))

    def await_ready(self) -> None:
        until(lambda: not self.runs or self.answers("/-/ready"), f"{self.config} is ready", SECONDS)
        assert self.runs, self.log.read_text()

    def start(self) -> None:
        self.launch()
        self.await_ready()

    @property
    def runs(self) -> bool:
        return bool(self._processes) and self._processes[-1].poll() is None

    def signal(self, number: int) -> None:
        self._processes[-1].send_signal(number)

    def kill(self) -> None:
        """As kill -9 does."""
        self.signal(signal.SIGKILL)
        self._processes[-1].wait()

    def stop(self) -> int:
        """Ask it to end, and return its exit status."""
        self.signal(signal.SIGTERM)
        return self._processes[-1].wait(timeout=SECONDS)

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def answers(self, path: str) -> bool:
        try:
            return self.ask(path)[0] == 200
        except OSError:
            return False

    def ask(self, path: str, body: Mapping[str, Any] | None = None, token: str | None = None) -> tuple[int, str]:
        """Status and text of an answer; a `body` is posted, by nobody where no token is given."""
        token = self._reader if body is None and token is None else token
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    @property
    def _reader(self) -> str | None:
        """The token of an operator: where there is one, nothing is read without."""
        references = [one.get("token", "") for one in self.settings.get("operators", {}).values()]
        return next((self._variables[one.removeprefix("env:")] for one in references if one), None)

    def api(self, path: str) -> Any:
        """The `data` of an answer of the API."""
        status, text = self.ask(f"/api/v1/{path}")
        assert status == 200, text
        return json.loads(text)["data"]

    def document(self) -> dict[str, Any]:
        """The API's own."""
        found: dict[str, Any] = json.loads(self.ask("/api/v1/openapi.json")[1])
        return found

    def custode(self, *arguments: str, status: int | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command with this configuration to its end; it must end with `status`."""
        command = [str(CUSTODE), *arguments, "-c", str(self.config)]
        done = subprocess.run(
            command, env=self._variables, capture_output=True, text=True, check=False, timeout=2 * SECONDS
        )
        assert status is None or done.returncode == status, done.stdout + done.stderr
        return done

    def command(self, *arguments: str, status: int | None = 0) -> Any:
        """What a command says with --json."""
        return json.loads(self.custode(*arguments, "--json", status=status).stdout)

    def run(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api(f"actions/{run_id}")["run"]
        return found

    def runs_of(self, action: str, environment: str | None = None) -> list[dict[str, Any]]:
        where = f"&environment={environment}" if environment else ""
        found: list[dict[str, Any]] = self.api(f"actions?action={action}{where}&limit=1000")
        return found

    def ask_for(self, action: str, place: str, token: str, **parameters: Any) -> str:
        """The id of the run that was asked for over HTTP."""
        status, text = self.ask(
            "/api/v1/actions", {"action": action, "environment": place, "parameters": parameters}, token
        )
        assert status == 200, text
        found: str = json.loads(text)["data"]["run"]["id"]
        return found

    def in_step(self, run_id: str, step: str, attempt: int = 1) -> dict[str, Any]:
        """The run, once this attempt is in the midst of the step whose name begins so."""

        def under_way() -> dict[str, Any] | None:
            run = self.run(run_id)
            there = run["state"] == "running" and run["attempt"] >= attempt and (run["step"] or "").startswith(step)
            return run if there else None

        found: dict[str, Any] = until(under_way, f"{step} of {run_id} is under way", SECONDS)
        return found

    def ended(self, run_id: str) -> dict[str, Any]:
        """The run, once it has ended."""
        found: dict[str, Any] = self.until_run(run_id, "ended")
        return found

    def until_run(self, run_id: str, state: str) -> dict[str, Any]:
        found: dict[str, Any] = until(
            lambda: (run := self.run(run_id))["state"] == state and run, f"run {run_id} is {state}", SECONDS
        )
        return found

    def ledger(self, **wanted: str) -> list[dict[str, Any]]:
        """Entries, oldest first."""
        query = "&".join(f"{name}={value}" for name, value in wanted.items())
        entries: list[dict[str, Any]] = self.api(f"ledger?limit=1000&{query}")
        return entries[::-1]

    def metrics(self) -> dict[tuple[str, str], float]:
        """Values by name and environment ("" where there is none), the greatest of several."""
        found: dict[tuple[str, str], float] = {}
        for name, labels, value in _SERIES.findall(self.ask("/metrics")[1]):
            key = name, dict(_LABEL.findall(labels)).get("environment", "")
            found[key] = max(float(value), found.get(key, float("-inf")))
        return found

    def scraped(self) -> set[str]:
        """The environments that it looks after, as /metrics shows them."""
        return {environment for name, environment in self.metrics() if name == "custode_up"}

    def alerts(self) -> dict[tuple[str, str], dict[str, Any]]:
        """By name and environment."""
        return {
            (one["labels"]["alertname"], one["labels"].get("environment", "")): one
            for one in self.api("alerts")["alerts"]
        }

    def messages(self, kind: str = "alert") -> list[str]:
        """`environment title` of what its notifier was told."""
        lines = self.told.read_text().splitlines() if self.told.exists() else []
        return [f"{one['environment']} {one['title']}" for one in map(json.loads, lines) if one["kind"] == kind]


def environment(server: EmbeddedServer, database: str, tier: str = "development", **policy: Any) -> dict[str, Any]:
    """Its part of a configuration: one database of the test's server."""
    return {
        "tier": tier,
        "dsn": server.dsn(database),
        "databases": [database],
        "tls": {"mode": "disable"},
        "policy": {"disk_free_ratio": 0, "access": {"literal_password": True}, **policy},
    }


def databases(server: EmbeddedServer, number: int) -> list[str]:
    """New, empty databases."""
    names = [f"t_{uuid.uuid4().hex[:12]}" for _ in range(number)]
    for name in names:
        sql(server.dsn(), f"create database {name}")
    return names


def drop(server: EmbeddedServer, names: Sequence[str]) -> None:
    for name in names:
        sql(server.dsn(), f"drop database if exists {name} with (force)")


def sql(dsn: str, *statements: str) -> list[Any]:
    """Run statements, each in a transaction of its own; the rows of the last one. Then the server has counted them."""

    async def ask() -> list[Any]:
        connection = await asyncpg.connect(dsn)
        try:
            rows: list[Any] = []
            for statement in statements:
                rows = await connection.fetch(statement)
            await connection.execute("select pg_stat_force_next_flush()")
            return rows
        finally:
            await connection.close()

    return asyncio.run(ask())


@contextmanager
def dump_waits(dsn: str) -> Iterator[None]:
    """Keep a backup in the midst of its dump."""
    sql(dsn, MAKE_DUMP_WAIT[0])
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(dsn))
        try:
            runner.run(connection.execute("begin"))
            runner.run(connection.execute(MAKE_DUMP_WAIT[1]))
            yield
        finally:
            runner.run(connection.close())


def leave_invalid(dsn: str, index: str) -> None:
    """A table, and what a failed build of an index on it left."""
    sql(dsn, "create table if not exists doubles (id int)", "insert into doubles values (1), (1)")
    with suppress(asyncpg.UniqueViolationError):
        sql(dsn, f"create unique index concurrently {index} on doubles (id)")
    assert indexes(dsn, index) == 1


def indexes(dsn: str, index: str) -> int:
    """How many there are of that name."""
    return [row[0] for row in sql(dsn, "select relname from pg_class where relkind = 'i'")].count(index)


def stored(store: Path, environment: str) -> list[str]:
    """The files of an environment's backups, by what they end in: one backup of one database is one of each."""
    return sorted(path.suffix for path in (store / "backups" / environment).rglob("*") if path.is_file())
