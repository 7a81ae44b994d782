"""What is watched: one file a subject. Reads an environment, returns samples, never writes."""

from collectors._collector import Collector
from collectors._family import Family, Metric, Rows, counter, gauge, info
from collectors._target import Server, Session, Target

__all__ = [
    "Collector",
    "Family",
    "Metric",
    "Rows",
    "Server",
    "Session",
    "Target",
    "counter",
    "gauge",
    "info",
]
