"""Logs: constant event names with fields, for people or as JSON lines, on stderr."""

from __future__ import annotations

import logging
import sys

import structlog

from daemon.config import LogSettings


def configure_logs(settings: LogSettings) -> None:
    """Set the format and the level for everything that is logged from now on."""
    # never with the values of variables: they may hold secrets, and showing them may take seconds
    for_people = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    traces = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    if settings.format == "json":
        shared += [structlog.processors.ExceptionRenderer(traces), structlog.processors.JSONRenderer()]
    else:
        shared.append(for_people)
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
