"""A throw-away server from Debian's postgresql-15 package: an older major version, and one that speaks TLS."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

BIN = Path("/usr/lib/postgresql/15/bin")
needs_debian = pytest.mark.skipif(not (BIN / "initdb").exists(), reason="Debian's postgresql-15 is not installed")


@dataclass(frozen=True, slots=True)
class DebianServer:
    """Listens on 127.0.0.1 and on a Unix socket in its directory; `postgres` is its superuser, anybody is trusted."""

    directory: Path
    port: int

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def socket_dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"postgresql://{user}@/{database}?host={self.directory}&port={self.port}"


@contextmanager
def debian_server(directory: Path, *, settings: dict[str, str] | None = None) -> Iterator[DebianServer]:
    """Start a server whose files are in `directory`; files that are there already belong to it (certificates)."""
    user = "postgres" if os.geteuid() == 0 else None
    directory.mkdir(exist_ok=True)
    if user:
        entry = pwd.getpwnam(user)
        for path in (directory, *directory.iterdir()):
            os.chown(path, entry.pw_uid, entry.pw_gid)
    data, port = directory / "data", _free_port()
    values = {"port": str(port), "listen_addresses": "127.0.0.1", "unix_socket_directories": str(directory)}
    values |= {"fsync": "off"} | (settings or {})

    def run(*command: str | Path) -> None:
        subprocess.run([str(part) for part in command], check=True, user=user, stdout=subprocess.DEVNULL, cwd="/")

    run(BIN / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=utf8", "--locale=C.UTF-8", "-N")
    with (data / "postgresql.conf").open("a") as conf:
        conf.writelines(f"{name} = '{value}'\n" for name, value in values.items())
    run(BIN / "pg_ctl", "-D", data, "-w", "-l", directory / "log", "start")
    try:
        yield DebianServer(directory, port)
    finally:
        run(BIN / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
        shutil.rmtree(directory, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
