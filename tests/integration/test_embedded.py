"""The embedded server: settings, many at once, and what a killed process leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import psutil
import pytest

from fleet.embedded import EmbeddedServer
from fleet.errors import DaemonError

FAST = {"fsync": "off", "shared_buffers": "16MB"}
Starter = Callable[..., EmbeddedServer]


@pytest.fixture
def start() -> Iterator[Starter]:
    """Start servers that are stopped after the test."""
    started: list[EmbeddedServer] = []

    def start(data_dir: Path, **settings: str) -> EmbeddedServer:
        started.append(EmbeddedServer.start(data_dir, settings=FAST | settings))
        return started[-1]

    yield start
    for server in reversed(started):  # the older handle of a directory would only forget the newer one's server
        server.stop()


def ask(dsn: str, query: str) -> object:
    async def fetch() -> object:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(fetch())


def postmaster(data_dir: Path) -> psutil.Process:
    return psutil.Process(int((data_dir / "postmaster.pid").read_text().splitlines()[0]))


def test_settings_are_in_force_and_new_ones_with_the_next_start(start: Starter, scratch: Path) -> None:
    server = start(scratch / "settings", cluster_name="l'archivio")
    assert ask(server.dsn(), "show cluster_name") == "l'archivio"
    assert ask(server.dsn(), "show shared_buffers") == "16MB"
    ask(server.dsn(), "create table kept ()")
    server.stop()
    server.stop()
    assert not (scratch / "settings" / "postmaster.pid").exists()
    again = start(scratch / "settings", cluster_name="other")
    assert ask(again.dsn(), "show cluster_name") == "other"
    assert ask(again.dsn(), "select to_regclass('kept')::text") == "kept"


def test_a_database_and_a_role_of_any_name_are_reached(start: Starter, scratch: Path) -> None:
    server = start(scratch / "names")
    ask(server.dsn(), 'create role "o\'brien @home" login')
    ask(server.dsn(), 'create database "contabilità / 50%?"')
    dsn = server.dsn("contabilità / 50%?", "o'brien @home")
    assert ask(dsn, "select current_user || ' in ' || current_database()") == "o'brien @home in contabilità / 50%?"
    psql = subprocess.run(
        [server.bin_dir / "psql", "-XAt", "-c", "select current_user", dsn], capture_output=True, text=True, check=True
    )
    assert psql.stdout.strip() == "o'brien @home"


def test_several_start_at_once(start: Starter, scratch: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        servers = list(pool.map(start, (scratch / f"many-{number}" for number in range(3))))
    assert len({ask(server.dsn(), "show data_directory") for server in servers}) == 3


def test_the_server_of_a_killed_process_is_taken_over_and_stopped(start: Starter, scratch: Path) -> None:
    data_dir = scratch / "orphan"
    script = (
        "import os, sys, pathlib, signal; from fleet.embedded import EmbeddedServer;"
        "EmbeddedServer.start(pathlib.Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", script, data_dir], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    orphan = postmaster(data_dir)
    server = start(data_dir)
    assert postmaster(data_dir) == orphan
    assert ask(server.dsn(), "select 1") == 1
    server.stop()
    # its process may wait as a zombie for init
    assert not (data_dir / "postmaster.pid").exists()


def test_a_process_that_took_the_number_of_a_dead_server_is_not_taken_for_it(start: Starter, scratch: Path) -> None:
    data_dir = scratch / "reused"
    server = start(data_dir)
    children = postmaster(data_dir).children()
    os.kill(postmaster(data_dir).pid, signal.SIGKILL)
    psutil.wait_procs(children, timeout=10)
    pid_file = data_dir / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    server.stop()
    again = start(data_dir)
    assert postmaster(data_dir).pid != os.getpid()
    assert ask(again.dsn(), "select 1") == 1


def test_a_server_that_cannot_start_says_where_to_look(start: Starter, scratch: Path) -> None:
    with pytest.raises(DaemonError) as caught:
        start(scratch / "broken", shared_buffers="a lot")
    assert str(scratch / "broken" / "log") in str(caught.value.hint)
    assert "a lot" in (scratch / "broken" / "log").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a server that runs as another user")
def test_a_directory_closed_to_the_servers_user_is_refused_not_opened(start: Starter, scratch: Path) -> None:
    closed = scratch / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(DaemonError, match="closed to the user"):
        start(closed / "data")
    assert closed.stat().st_mode & 0o777 == 0o700
