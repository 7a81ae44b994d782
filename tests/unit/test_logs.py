"""What is logged of an error: where it was, never what the variables held."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import structlog
from daemon.config import LogSettings
from daemon.logs import configure_logs

configure_logs(LogSettings(format={format!r}))
password = "hun" + "ter2"
try:
    raise RuntimeError("it broke")
except RuntimeError:
    structlog.get_logger().exception("broke", run="r1")
"""


@pytest.mark.parametrize("format", ["console", "json"])
def test_a_trace_shows_no_values(format: str) -> None:  # noqa: A002 - as the setting is called
    command = [sys.executable, "-c", PROGRAM.format(format=format)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert "RuntimeError" in said
    assert "it broke" in said
    assert "hunter2" not in said
    if format == "json":
        assert json.loads(said)["run"] == "r1"
