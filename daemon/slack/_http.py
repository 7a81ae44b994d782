"""Clicks over HTTP, signed by Slack: for those who have a public address and do not want Socket Mode."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

import structlog
from aiohttp import web
from slack_sdk.signature import Clock, SignatureVerifier

from daemon.web._actions_input import BadInputError, read_raw
from daemon.web._actions_reply import failure
from daemon.web.access import Role
from daemon.web.routes import Route, add_routes
from fleet.errors import SecretError
from fleet.secrets import Secrets, SecretText

log = structlog.get_logger()

PATH = "/api/v1/slack/interactions"
MAX_BODY = 512 * 1024
_REMEMBERED_SECONDS = 600.0  # longer than Slack's own five minutes in both directions
_MOST_REMEMBERED = 20_000


class _Clock(Clock):
    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now

    def now(self) -> float:
        return self._now()


class Signatures:
    """Says whether a request is Slack's, and comes for the first time. `now` gives unix seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._seen: dict[str, float] = {}

    def accept(self, secret: str, body: bytes, timestamp: str | None, signature: str | None) -> bool:
        """Whatever is wrong with it, it is just not accepted."""
        try:
            valid = SignatureVerifier(secret, _Clock(self._now)).is_valid(body, timestamp, signature)
        except (ValueError, TypeError):  # not a number, not ASCII, not UTF-8
            return False
        if not valid or signature is None or signature in self._seen:
            return False
        self._remember(signature)
        return True

    def _remember(self, signature: str) -> None:
        now = self._now()
        if len(self._seen) >= _MOST_REMEMBERED:
            self._seen = {old: at for old, at in self._seen.items() if now - at < _REMEMBERED_SECONDS}
        self._seen[signature] = now


class Interactions:
    """The endpoint. `serve` runs what was accepted; `handle` gets the payloads."""

    def __init__(
        self,
        secret: SecretText,
        secrets: Secrets,
        handle: Callable[[object], Awaitable[None]],
        now: Callable[[], float],
    ) -> None:
        self._secret = secret
        self._secrets = secrets
        self._handle = handle
        self._signatures = Signatures(now)
        self._queue: asyncio.Queue[object] = asyncio.Queue(1000)

    def register(self, application: web.Application) -> None:
        summary = "Clicks and modals that Slack sends, signed by it"
        add_routes(application, [Route("POST", PATH, self._receive, Role.PUBLIC, summary, forgeable=False)])

    async def serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(_run(self._handle, await self._queue.get()))

    async def _receive(self, request: web.Request) -> web.Response:
        """200 as soon as it is known to be Slack's: Slack waits three seconds."""
        try:
            body = await read_raw(request, MAX_BODY)
        except BadInputError as error:
            return failure(request, error)
        try:
            secret = await self._secrets.fill(self._secret)
        except SecretError as error:
            log.error("slack_signing_secret_unreadable", error=error.message)  # noqa: TRY400
            raise web.HTTPServiceUnavailable(text="Not now.\n") from None
        headers = request.headers
        timestamp, signature = headers.get("X-Slack-Request-Timestamp"), headers.get("X-Slack-Signature")
        if not self._signatures.accept(secret, body, timestamp, signature):
            log.warning("slack_request_not_accepted", remote=request.remote)
            raise web.HTTPUnauthorized(text="The signature is not accepted.\n")
        try:
            payload = json.loads(parse_qs(body.decode(), strict_parsing=True, max_num_fields=5)["payload"][0])
            self._queue.put_nowait(payload)
        except (ValueError, KeyError, RecursionError):
            raise web.HTTPBadRequest(text="No payload.\n") from None
        except asyncio.QueueFull:
            raise web.HTTPServiceUnavailable(text="Too many clicks at once.\n") from None
        return web.Response()


async def _run(handle: Callable[[object], Awaitable[None]], payload: object) -> None:
    await handle(payload)
