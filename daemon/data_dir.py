"""The data directory, which belongs to one daemon at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fleet.errors import DaemonError

LOCK_FILE = "daemon.lock"
SOCKET_NAME = "control.sock"


def default_data_dir() -> Path:
    """$CUSTODE_DATA_DIR, else /var/lib/custode where it is ours to write, else below the home directory."""
    if configured := os.environ.get("CUSTODE_DATA_DIR"):
        return Path(configured).expanduser().absolute()
    system = Path("/var/lib/custode")
    return system if os.access(system, os.W_OK) else Path.home() / ".local" / "share" / "custode"


def take_data_dir(path: Path) -> Callable[[], None]:
    """Make it if need be, and take it; returns what lets go of it. A process that ends lets go in any case.

    Others may pass through it: to the control socket, where the kernel says who they are, and, under root, the user
    of the embedded server to its own directory. What is private in it is closed by itself.

    Raises:
        DaemonError: it cannot be made or written, or another daemon has it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o711)
        lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DaemonError(
            f"the data directory {path} cannot be used: {error.strerror}", hint="set data_dir, or CUSTODE_DATA_DIR"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise DaemonError(
            f"the data directory {path} is held by another process",
            hint="is a daemon running with it? give each daemon a data_dir of its own",
        ) from error
    return partial(os.close, lock)
