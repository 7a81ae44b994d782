"""The interpreter and the C library, tuned for an event loop that is never held up and memory that stays small."""

from __future__ import annotations

import ctypes
import gc
import sys

# the default of 700 objects is reached many times in one evaluation of many alerts, none of which are garbage; and the
# next generation is looked at each second time, as it holds everybody up for as long as it has grown
GARBAGE_THRESHOLDS = (10_000, 1, 1_000)
# a loop that comes round takes the interpreter's lock several times from threads that copy rows: 5 ms each by default
SWITCH_SECONDS = 0.0005
_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of glibc's malloc.h
_LARGE_BYTES = 1 << 20


def tune_process() -> None:
    """To be called once all that lives to the end is made."""
    # a full collection that walks what is never garbage stops the loop for long
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    sys.setswitchinterval(SWITCH_SECONDS)
    return_large_blocks()


def return_large_blocks() -> None:
    """Have blocks of a megabyte and more given back to the system as soon as they are free, in the whole process.

    glibc begins so; but the first of them that is freed makes it keep the later ones in the heaps of its threads, among
    what is in use (mallopt(3), dynamic mmap threshold). Measured: 20 MB less while we back up, and 30 MB while we
    restore, for 15 % more of our processor time there, which new pages take. With another C library nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
