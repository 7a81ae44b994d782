"""Lines in files: appended whole or not at all."""

from __future__ import annotations

import errno
import os


def append_line(handle: int, line: bytes) -> None:
    """Append to a file opened with O_APPEND. Raises OSError; a part that was written is taken back."""
    begin = os.fstat(handle).st_size
    if os.write(handle, line) < len(line):
        os.ftruncate(handle, begin)  # half a line would spoil the next one
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
