"""The composition root and everything that runs: scheduling, HTTP, notifiers, state, the command line."""

import os

# Here, because NumPy reads it once, as it is imported. OpenBLAS stops its threads before every fork, and a computation
# that runs in another thread meanwhile can then wait for them forever. We start servers and client programs at any
# time, and our arrays are too small to gain from more threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
