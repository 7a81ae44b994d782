"""The Web API of Slack: paced as Slack asks, its errors told as what to do about them."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.http_retry.async_handler import AsyncRetryHandler
from slack_sdk.http_retry.builtin_async_handlers import (
    AsyncConnectionErrorRetryHandler,
    AsyncRateLimitErrorRetryHandler,
    AsyncServerErrorRetryHandler,
)
from slack_sdk.http_retry.request import HttpRequest
from slack_sdk.http_retry.response import HttpResponse
from slack_sdk.http_retry.state import RetryState
from slack_sdk.web.async_client import AsyncWebClient

from daemon.notifiers import Permanent, Retryable
from fleet.errors import SecretError
from fleet.secrets import Secrets, SecretText

TIMEOUT_SECONDS = 10
LOOK_BACK_SECONDS = 120.0  # before a posting began; clocks differ
_WAIT_HERE = 3  # seconds; what Slack asks beyond is waited for outside
_REVOKED = frozenset({"invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive"})
_PASSING = frozenset({"internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org"})
GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
NO_CHANNEL = frozenset({"channel_not_found", "is_archived", "not_in_channel", "restricted_action"})
REFUSED_BLOCKS = frozenset({"invalid_blocks", "invalid_attachments", "msg_blocks_too_long", "msg_too_long"})

# its messages name channels and hold answers of Slack; what matters of them we log ourselves
logging.getLogger("slack_sdk").setLevel(logging.CRITICAL)


class SlackError(Permanent):
    """Slack understood, and refused; `reason` is its word for it."""

    code = "CU703"

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class _ShortWaits(AsyncRateLimitErrorRetryHandler):
    """Waits where Slack asks for a moment; a longer pause is for whoever can do something else meanwhile."""

    async def _can_retry_async(
        self,
        *,
        state: RetryState,
        request: HttpRequest,
        response: HttpResponse | None = None,
        error: Exception | None = None,
    ) -> bool:
        asked = await super()._can_retry_async(state=state, request=request, response=response, error=error)
        wait = _retry_after(response.headers) if response is not None else None
        return asked and wait is not None and wait <= _WAIT_HERE


def _handlers(*, idempotent: bool) -> list[AsyncRetryHandler]:
    """After a broken connection nobody knows whether a message was posted: only whoever looks may try again."""
    handlers: list[AsyncRetryHandler] = [_ShortWaits(max_retry_count=1)]
    if idempotent:
        handlers += [
            AsyncConnectionErrorRetryHandler(max_retry_count=1),
            AsyncServerErrorRetryHandler(max_retry_count=1),
        ]
    return handlers


class Pace:
    """So many calls at most, evenly: `turn` waits for one's own. `now` is any clock in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._next: dict[str, float] = {}

    async def turn(self, of: str, interval: float, patience: float = 8.0) -> None:
        """Raises Retryable where the turn would come later than `patience` seconds from now."""
        now = self._now()
        at = max(self._next.get(of, 0.0), now)
        if at - now > patience:
            raise Retryable(f"Slack takes one message a second in {of}, and more are waiting")
        self._next[of] = at + interval
        if len(self._next) > 1000:
            self._next = {name: when for name, when in self._next.items() if when > now}
        await asyncio.sleep(at - now)


class SlackApi:
    """Calls with the bot's token, which is resolved when it is needed. To be closed."""

    def __init__(self, token: SecretText, secrets: Secrets, url: str, now: Callable[[], float]) -> None:
        self._token = token
        self._secrets = secrets
        self._url = url
        self._pace = Pace(now)
        self._channels: dict[str, str] = {}
        self._session: aiohttp.ClientSession | None = None

    def client(self, token: str | None = None, *, idempotent: bool = True) -> AsyncWebClient:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS))
        return AsyncWebClient(
            token=token,
            base_url=self._url,
            timeout=TIMEOUT_SECONDS,
            session=self._session,
            retry_handlers=_handlers(idempotent=idempotent),
        )

    async def call(self, method: str, *, idempotent: bool = True, **arguments: Any) -> Mapping[str, Any]:
        """Raises Retryable, SlackError."""
        try:
            token = await self._secrets.fill(self._token)
        except SecretError as error:
            raise Retryable(f"notifiers.slack.token: {error.message}", hint=error.hint) from error
        client = self.client(token, idempotent=idempotent)
        given = {name: value for name, value in arguments.items() if value is not None}
        try:
            answer = (
                await client.api_call(method, json=given)
                if method in _TAKES_JSON
                else await client.api_call(method, data=given)
            )
        except SlackApiError as error:
            raise self._understood(method, error) from error
        except (TimeoutError, aiohttp.ClientError, SlackClientError, OSError) as error:
            raise Retryable(f"Slack cannot be reached for {method}: {str(error) or type(error).__name__}") from error
        data = answer.data
        return data if isinstance(data, dict) else {}

    def _understood(self, method: str, error: SlackApiError) -> Exception:
        response = error.response
        status = getattr(response, "status_code", 200)
        data = getattr(response, "data", None)
        reason = str(data.get("error", "")) if isinstance(data, dict) else ""
        if status == 429 or reason in {"ratelimited", "rate_limited"}:
            wait = _retry_after(response.headers)
            return Retryable(f"Slack asks to wait with {method}", after=wait if wait is not None else 30.0)
        if status >= 500 or reason in _PASSING or not reason:
            return Retryable(f"Slack does not work now: {method} gave {status} {reason}".rstrip())
        if reason in _REVOKED:
            self._secrets.forget(self._token)  # it may have been rotated
            return Retryable(f"Slack does not take the token: {reason}", after=30.0, hint="notifiers.slack.token")
        needed = data.get("needed") if isinstance(data, dict) else None
        scope = f", the scope {needed}" if needed else ""
        return SlackError(f"Slack refuses {method}: {reason}{scope}", reason)

    async def post(
        self, channel: str, text: str, attachments: Sequence[Mapping[str, Any]], *, mark: str, **more: Any
    ) -> tuple[str, str]:
        """Post what `find` finds by its mark; its channel's id and time stamp. Raises Retryable, SlackError."""
        await self._pace.turn(self._channels.get(channel, channel), 1.0)
        message = {
            "channel": channel,
            "text": text,
            "attachments": list(attachments) or None,
            "metadata": {"event_type": "custode", "event_payload": {"id": mark}},
            "unfurl_links": False,
            "unfurl_media": False,
        }
        answer = await self.call("chat.postMessage", idempotent=False, **message, **more)
        place = self._channels[channel] = str(answer["channel"])
        return place, str(answer["ts"])

    async def edit(self, channel: str, ts: str, text: str, attachments: Sequence[Mapping[str, Any]]) -> None:
        """Raises Retryable, SlackError."""
        await self._pace.turn("all edits", 1.0)
        await self.call("chat.update", channel=channel, ts=ts, text=text, attachments=list(attachments))

    async def find(self, channel: str, mark: str, since: float, thread: str | None = None) -> tuple[str, str] | None:
        """Where a message is that was perhaps posted since `since` (unix seconds). Raises Retryable, SlackError."""
        oldest = f"{since - LOOK_BACK_SECONDS:.6f}"
        method = "conversations.history" if thread is None else "conversations.replies"
        cursor: str | None = None
        while True:
            found = await self.call(
                method,
                channel=channel,
                ts=thread,
                oldest=oldest if thread is None else None,
                include_all_metadata=True,
                limit=200,
                cursor=cursor,
            )
            for message in found.get("messages", ()):
                payload = (message.get("metadata") or {}).get("event_payload") or {}
                if payload.get("id") == mark:
                    return channel, str(message["ts"])
            cursor = (found.get("response_metadata") or {}).get("next_cursor") or None
            if cursor is None:
                return None

    async def channel_id(self, channel: str) -> str | None:
        """The id of a channel that may be given by its name. Raises Retryable, SlackError."""
        if re.fullmatch(r"[CDG][A-Z0-9]{6,}", channel):
            return channel
        cursor: str | None = None
        while channel not in self._channels:
            found = await self.call(
                "conversations.list",
                exclude_archived=True,
                types="public_channel,private_channel",
                cursor=cursor,
                limit=1000,
            )
            for each in found.get("channels", ()):
                self._channels[str(each["name"])] = self._channels[f"#{each['name']}"] = str(each["id"])
            cursor = (found.get("response_metadata") or {}).get("next_cursor") or None
            if cursor is None:
                break
        return self._channels.get(channel)

    async def permalink(self, channel: str, ts: str) -> str:
        """The address of a message. Raises Retryable, SlackError."""
        found = await self.call("chat.getPermalink", channel=channel, message_ts=ts)
        return str(found["permalink"])

    async def whisper(self, channel: str, user: str, text: str, **more: Any) -> None:
        """Say something that only one person sees. Raises Retryable, SlackError."""
        await self.call("chat.postEphemeral", channel=channel, user=user, text=text, **more)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


_TAKES_JSON = frozenset({"chat.postMessage", "chat.update", "chat.postEphemeral", "views.open"})


def _retry_after(headers: Mapping[str, Any]) -> float | None:
    for name, value in headers.items():
        if name.lower() == "retry-after":
            one = value[0] if isinstance(value, list) and value else value
            try:
                return min(max(float(one), 0.0), 3600.0)
            except (TypeError, ValueError):
                return None
    return None
