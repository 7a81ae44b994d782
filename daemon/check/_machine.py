"""What is usually wrong with the machine that the daemon runs on. Blocks for moments."""

from __future__ import annotations

import fcntl
import os
import pwd
import resource
import shutil
import socket
import stat
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from daemon.actions.views import STOP_FILE
from daemon.check._report import Notes
from daemon.config import Settings
from daemon.data_dir import LOCK_FILE, SOCKET_NAME

# of the disk of data_dir: the state and, by default, the backups are there
LEAST_FREE_RATIO, LEAST_FREE_BYTES = 0.1, 2 * 2**30
FILES, FILES_PER_ENVIRONMENT = 256, 8  # sockets, stores and children need so many descriptors
_SHADOWING = ("PGSERVICE", "PGSERVICEFILE", "PGOPTIONS", "PGHOST", "PGHOSTADDR", "PGPORT", "PGUSER", "PGPASSWORD")


def check_machine(settings: Settings, environment: Mapping[str, str]) -> Notes:
    """The data directory and who uses it, room, limits, the address, accounts. `environment`: variables of ours."""
    notes = Notes()
    running = _check_daemon(settings.data_dir, notes)
    if not running:
        _check_address(settings, notes)
    _check_room(settings.data_dir, notes)
    _check_switch(settings.data_dir, notes)
    _check_files(settings, notes)
    _check_accounts(settings, notes)
    if shadowing := [name for name in _SHADOWING if name in environment]:
        notes.warning(
            "variables",
            f"{', '.join(shadowing)} is set and fills in what a dsn leaves out",
            "say host, port and user in every dsn, and unset what is left over",
        )
    return notes


def _check_daemon(data_dir: Path, notes: Notes) -> bool:
    """Whether a daemon holds the data directory."""
    try:
        lock = os.open(data_dir / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        notes.ok("daemon", f"none has ever run with {data_dir}")
        return False
    except OSError as error:
        notes.warning("daemon", f"whether one runs is not known: {error.strerror}", "run this as the daemon's account")
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        if _answers(data_dir):
            notes.ok("daemon", f"one runs with {data_dir}, and answers")
        else:
            notes.error(
                "daemon",
                f"a process holds {data_dir} and does not answer at {SOCKET_NAME}",
                f"is it starting or stopping? else: fuser -v {data_dir / LOCK_FILE}",
            )
        return True
    finally:
        os.close(lock)
    notes.warning("daemon", f"none runs with {data_dir}", "custode run, or systemctl start custode")
    return False


def _answers(data_dir: Path) -> bool:
    directory = os.open(data_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    with closing(socket.socket(socket.AF_UNIX)) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(f"/proc/self/fd/{directory}/{SOCKET_NAME}")
        except OSError:
            return False
        finally:
            os.close(directory)
    return True


def _check_address(settings: Settings, notes: Notes) -> None:
    listen = settings.listen
    try:
        (family, kind, _, _, address), *_ = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM)
        with closing(socket.socket(family, kind)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        hint = "another program has it, or it is of another machine: ss -ltnp; change listen"
        notes.error("listen", f"{listen} cannot be listened on: {error.strerror or error}", hint)
    else:
        notes.ok("listen", f"{listen} is free")


def _check_room(data_dir: Path, notes: Notes) -> None:
    existing = next(path for path in (data_dir, *data_dir.parents) if path.exists())
    usage = shutil.disk_usage(existing)
    said = f"{usage.free / 2**30:.1f} GiB of {usage.total / 2**30:.1f} are free for {data_dir}"
    if usage.free < LEAST_FREE_BYTES or usage.free < usage.total * LEAST_FREE_RATIO:
        notes.warning("room", said, "make room, or move data_dir or the local store to a larger disk")
    else:
        notes.ok("room", said)


def _check_switch(data_dir: Path, notes: Notes) -> None:
    if (data_dir / STOP_FILE).exists():
        notes.warning("actions", f"the file {data_dir / STOP_FILE} stops them all", "custode stop-actions --release")


def _check_files(settings: Settings, notes: Notes) -> None:
    source = settings.source
    if source.exists() and source.stat().st_mode & stat.S_IWOTH:
        notes.error("configuration", "may be changed by everybody", f"chmod o-w {source}")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES + FILES_PER_ENVIRONMENT * len(settings.environments)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        hint = "LimitNOFILE= of the unit, or ulimit -n"
        notes.error("open files", f"at most {soft}; {len(settings.environments)} environments need {wanted}", hint)
    else:
        notes.ok("open files", f"at most {soft}")


def _check_accounts(settings: Settings, notes: Notes) -> None:
    missing = []
    for name, operator in settings.operators.items():
        account = operator.local_user or name
        try:
            pwd.getpwnam(account)
        except KeyError:
            # who has another way in needs no account here
            if operator.local_user is not None or not (operator.token or operator.slack or operator.webhook_secret):
                missing.append(f"{name} ({account})")
    if missing:
        notes.error(
            "operators",
            f"this machine has no account of {', '.join(missing)}",
            "make the account, or give the operator a token or an id in Slack",
        )
    elif settings.operators:
        notes.ok("operators", f"{len(settings.operators)}, and each has a way in")
