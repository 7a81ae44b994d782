"""A standby of a throw-away Debian server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.integration.debian_server import BIN, DebianServer


@contextmanager
def standby(primary: DebianServer) -> Iterator[DebianServer]:
    """Copy `primary`, start the copy as its standby; it calls itself `copy` there. The copy vanishes at the end."""
    user = "postgres" if os.geteuid() == 0 else None
    data = primary.directory / "standby"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]

    def run(program: str, *args: str) -> None:
        subprocess.run(
            [str(BIN / program), "-D", str(data), *args], check=True, user=user, stdout=subprocess.DEVNULL, cwd="/"
        )

    source = f"{primary.dsn()}?application_name=copy"
    run("pg_basebackup", "--write-recovery-conf", "--checkpoint=fast", "--no-sync", f"--dbname={source}")
    run("pg_ctl", "-w", "-l", str(data / "log"), "-o", f"-p {port} -k {data}", "start")
    try:
        yield DebianServer(data, port)
    finally:
        run("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(data)
