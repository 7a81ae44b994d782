"""What the process gives back; told by a process of its own: it is of what the heap held before."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

_GIVES_BACK = """
import resource
from pathlib import Path
from daemon.tuning import return_large_blocks

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

return_large_blocks()
for _ in range(3):  # the first that is freed makes others stay
    blocks, pins = [], []
    for _ in range(40):
        blocks.append(b"x" * (2 << 20))
        pins.append(b"x" * 600_000)  # a heap shrinks at its end alone: this is in use there
    most = resident()
    blocks.clear()
    print(most - resident() > 40 << 20)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_large_blocks_go_back_when_they_are_free() -> None:
    def told(script: str) -> list[str]:
        return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()

    assert told(_GIVES_BACK) == ["True"] * 3
    assert "False" in told(_GIVES_BACK.replace("\nreturn_large_blocks()\n", "\n")), "as the C library begins"
