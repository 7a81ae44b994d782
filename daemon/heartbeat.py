"""A sign of life for a dead man's switch outside, such as healthchecks.io: something else complains when it stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
import structlog

from daemon.config import HeartbeatSettings
from fleet.errors import SecretError
from fleet.secrets import Secrets, SecretText

log = structlog.get_logger()

ANSWER_SECONDS = 10.0


class Heartbeat:
    """Fetches the address, and with /fail at its end where `trouble` says what keeps the daemon from its work."""

    def __init__(self, settings: HeartbeatSettings, secrets: Secrets, trouble: Callable[[], str | None]) -> None:
        self._settings = settings
        self._secrets = secrets
        self._trouble = trouble
        self._works = True

    async def run(self) -> None:
        """Beat, until cancelled."""
        if self._settings.url is None:
            return
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                await self._beat(session, self._settings.url)
                await asyncio.sleep(self._settings.interval.total_seconds())

    async def _beat(self, session: aiohttp.ClientSession, address: SecretText) -> None:
        trouble = self._trouble()
        problem = None
        try:
            url = await self._secrets.fill(address)
            if trouble is None:
                answer = session.get(url)
            else:
                answer = session.post(f"{url.rstrip('/')}/fail", data=trouble.encode())
            async with answer as response:
                if response.status >= 400:
                    problem = f"it answers {response.status}"
        except SecretError as error:
            problem = error.message
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            problem = type(error).__name__  # its text may hold the address, which is a secret
        if problem is not None and self._works:
            log.warning("heartbeat_failed", error=problem)
        self._works = problem is None
