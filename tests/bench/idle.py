"""What the daemon costs when nothing happens: `custode run` on the four demonstration environments, intervals of 15 s.

`python -m tests.bench.idle [SECONDS]` starts the demonstration's servers in this process and the daemon as a process of
its own, lets it settle (its first minute holds the backup that is due), and reads its CPU time and memory from /proc.
The last line is one JSON object: `cpu_percent` of one core, `rss_mb`, `ready_s` from the daemon's start to readiness.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from daemon.config import load
from daemon.demo.configuration import write_configuration
from daemon.demo.fleet import DemoFleet, temporary_directory
from daemon.demo.history import make_history
from daemon.parts import make_stores
from fleet.secrets import Secrets
from tests.bench.machine import machine

SETTLE_SECONDS = 75.0
TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process (proc(5): fields 14 and 15 of stat), in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def rss_megabytes(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=1):
            return True
    except OSError:
        return False


def measure(config: Path, port: int, seconds: float) -> dict[str, float]:
    began = time.monotonic()
    command = [str(Path(sys.executable).with_name("custode")), "run", "-c", str(config)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not is_ready(port):
                time.sleep(0.05)
            ready = time.monotonic() - began
            time.sleep(SETTLE_SECONDS)
            before, since = cpu_seconds(process.pid), time.monotonic()
            time.sleep(seconds)
            used, wall = cpu_seconds(process.pid) - before, time.monotonic() - since
            figures = {"cpu_percent": 100 * used / wall, "rss_mb": rss_megabytes(process.pid), "ready_s": ready}
        finally:
            process.send_signal(signal.SIGTERM)
    return {name: round(value, 2) for name, value in figures.items()}


async def main(seconds: float) -> None:
    directory = temporary_directory()
    fleet = await DemoFleet.start(directory, 2000, lambda _name, _done, _total: None)
    try:
        config = await write_configuration(fleet, None)
        text = config.read_text(encoding="utf-8").replace("interval: 5s", "interval: 15s")
        config.write_text(text, encoding="utf-8")
        settings = load(config)
        await make_history(settings, next(iter(make_stores(settings, Secrets(time.monotonic)).values())))
        figures = await asyncio.to_thread(measure, config, settings.listen.port, seconds)
    finally:
        await fleet.stop()
    print(json.dumps({**figures, "seconds": seconds, "machine": machine()}))


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 120.0))
