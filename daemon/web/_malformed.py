"""Requests that are no HTTP: aiohttp answers them with 400, and would log a trace for each that a stranger sends."""

from __future__ import annotations

import logging

import structlog
from aiohttp.http_exceptions import HttpProcessingError

log = structlog.get_logger()


def tell_shortly(record: logging.LogRecord) -> bool:
    """A filter of aiohttp's logger: what is malformed is a line for those who debug."""
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, HttpProcessingError):
        return True
    log.debug("malformed_request", error=repr(error.message[:200]))
    return False
