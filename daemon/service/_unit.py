"""The systemd unit, with the command of this installation."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

_SHIPPED = "/opt/custode/bin/custode"


def unit_text(command: Path) -> str:
    """The unit, which starts `command` (an absolute path)."""
    text = resources.files("daemon.service").joinpath("custode.service").read_text(encoding="utf-8")
    return text.replace(_SHIPPED, str(command))
