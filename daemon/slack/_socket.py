# mypy: allow-untyped-calls
# slack-sdk publishes types, but not for every function
"""Socket Mode: clicks come over a WebSocket that we open, so no port has to be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiohttp
import structlog
from slack_sdk.errors import SlackApiError
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse

from daemon.slack._api import SlackApi
from daemon.slack.metrics import SlackMetrics
from fleet.errors import SecretError
from fleet.secrets import Secrets, SecretText

log = structlog.get_logger()

PING_SECONDS = 5.0
SILENT_SECONDS = 30.0  # without a pong the connection is dead, whatever it says
CONNECT_SECONDS = 20.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0


class Socket:
    """`handle` gets every payload after Slack was told that it came; `now` gives unix seconds."""

    def __init__(
        self,
        api: SlackApi,
        token: SecretText,
        *,
        secrets: Secrets,
        handle: Callable[[object], Awaitable[None]],
        metrics: SlackMetrics,
        now: Callable[[], float],
    ) -> None:
        self._api = api
        self._token = token
        self._secrets = secrets
        self._handle = handle
        self._metrics = metrics
        self._now = now
        self._group: asyncio.TaskGroup | None = None

    async def serve(self) -> None:
        """Until cancelled: be connected, and connect anew when Slack falls silent."""
        pause = _FIRST_PAUSE
        async with asyncio.TaskGroup() as self._group:
            while True:
                self._metrics.connected = False
                if await self._connected():
                    pause = _FIRST_PAUSE
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _connected(self) -> bool:
        """Hold one connection as long as it lives; whether there was one."""
        try:
            client = SocketModeClient(
                app_token=await self._secrets.fill(self._token),
                web_client=self._api.client(),
                auto_reconnect_enabled=True,
                ping_interval=PING_SECONDS,
            )
        except SecretError as error:
            log.error("slack_socket_without_token", error=error.message)  # noqa: TRY400
            return False
        client.socket_mode_request_listeners.append(self._receive)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                client.wss_uri = await client.issue_new_wss_url()
                await client.connect()
            await self._watch(client)
        except (SlackApiError, aiohttp.ClientError, OSError, TimeoutError) as error:
            log.warning("slack_socket_not_connected", error=str(error) or type(error).__name__)
            self._secrets.forget(self._token)  # it may have been rotated
            return False
        else:
            return True
        finally:
            with suppress(Exception):  # whatever state it is in, it is given up
                await client.close()

    async def _watch(self, client: SocketModeClient) -> None:
        """Until nothing was heard for SILENT_SECONDS: the SDK does not notice each such end by itself."""
        heard = self._now()
        while self._now() - heard < SILENT_SECONDS:
            connected = await client.is_connected()
            heard = max(heard, client.last_ping_pong_time or 0.0) if connected else heard
            self._metrics.connected, self._metrics.pong_at = connected, heard
            await asyncio.sleep(1.0)
        log.warning("slack_socket_silent", seconds=SILENT_SECONDS)

    async def _receive(self, client: AsyncBaseSocketModeClient, request: SocketModeRequest) -> None:
        # Slack waits three seconds for this; work comes after it
        await client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))
        if request.type == "interactive" and self._group is not None:
            self._group.create_task(_guarded(self._handle, request.payload))


async def _guarded(handle: Callable[[object], Awaitable[None]], payload: object) -> None:
    await handle(payload)
