"""Unit tests of rules, in the format of `promtool test rules`, run on our own engine."""

from __future__ import annotations

from rules.unittests.outcome import Failure, Outcome, describe_failure
from rules.unittests.running import run_file

__all__ = ["Failure", "Outcome", "describe_failure", "run_file"]
