"""The control socket: HTTP on a Unix socket in the data directory, where the kernel says who is at the other end.

It is bound and reached through /proc/self/fd, as the path of a socket holds 107 bytes and a directory may lie deeper.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from daemon.data_dir import SOCKET_NAME
from fleet.errors import DaemonError

_PROBE_SECONDS = 1.0


@contextmanager
def socket_path(data_dir: Path) -> Iterator[str]:
    """A path to connect to, short however long `data_dir` is, that holds as long as the context.

    Raises:
        OSError: there is no such directory, or it is closed to us.
    """
    directory = os.open(data_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield _path(directory)
    finally:
        os.close(directory)


class ControlSocket:
    """The listening end; `socket` is for the server to accept from."""

    def __init__(self, data_dir: Path) -> None:
        """Listen. What a dead process left is replaced. Blocks for a moment.

        Raises:
            DaemonError: a living process listens there, or it cannot be made.
        """
        self._shown = data_dir / SOCKET_NAME
        self._directory = -1
        self._file: tuple[int, int] | None = None
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._directory = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._listen()
        except OSError as error:
            self.close()
            raise DaemonError(
                f"cannot listen on {self._shown}: {error.strerror or error}",
                hint="the data directory must be on a file system that can hold a socket, such as a local disk",
            ) from error
        except DaemonError:
            self.close()
            raise

    def remove(self) -> None:
        """Remove the file where it is still ours; `close` comes after it.

        Only while we listen: the file of who does not may be replaced by another one that looks the same.
        """
        if self._file is not None and self._found() == self._file:
            os.unlink(SOCKET_NAME, dir_fd=self._directory)

    def close(self) -> None:
        self.socket.close()
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def _listen(self) -> None:
        try:
            # between the look at what is there and our own socket nobody else may do the same
            fcntl.flock(self._directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DaemonError(f"another process is about to listen on {self._shown}", hint=_ANOTHER) from None
        self._remove_left_over()
        self.socket.bind(_path(self._directory))
        # whoever may enter the directory may connect: the kernel says who it is, and the operators what he may
        os.chmod(SOCKET_NAME, 0o666, dir_fd=self._directory)  # noqa: S103 - as said
        self.socket.listen(128)
        fcntl.flock(self._directory, fcntl.LOCK_UN)
        self._file = self._found()

    def _remove_left_over(self) -> None:
        try:
            found = os.stat(SOCKET_NAME, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(found.st_mode):
            raise DaemonError(f"{self._shown} is no socket", hint="move it out of the way")
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
            probe.settimeout(_PROBE_SECONDS)
            try:
                probe.connect(_path(self._directory))
            except ConnectionRefusedError:
                os.unlink(SOCKET_NAME, dir_fd=self._directory)
                return
            except (TimeoutError, BlockingIOError):
                pass  # somebody is there, and too busy to answer
        raise DaemonError(f"a living process listens on {self._shown}", hint=_ANOTHER)

    def _found(self) -> tuple[int, int] | None:
        try:
            found = os.stat(SOCKET_NAME, dir_fd=self._directory, follow_symlinks=False)
        except OSError:
            return None
        return found.st_dev, found.st_ino


_ANOTHER = "is a daemon running with this data_dir?"


def _path(directory: int) -> str:
    return f"/proc/self/fd/{directory}/{SOCKET_NAME}"
