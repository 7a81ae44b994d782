"""NumPy's library starts no threads of its own, which a fork could hang on: seen from a process of our own."""

import os
import subprocess
import sys

CODE = """
import os
from daemon.cli import main
import numpy
print(os.environ["OPENBLAS_NUM_THREADS"], len(os.listdir("/proc/self/task")))
"""


def run(**variables: str) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if "_NUM_THREADS" not in name} | variables
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_command_computes_in_one_thread() -> None:
    assert run() == ["1", "1"]


def test_whoever_starts_it_may_choose() -> None:
    assert run(OPENBLAS_NUM_THREADS="2")[0] == "2"
