"""The only place that reads the time; everything else is handed these functions."""

from __future__ import annotations

import time

now = time.time  # unix seconds
monotonic = time.monotonic  # seconds since some moment, never backwards
