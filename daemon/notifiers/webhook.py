"""Post messages as JSON to an address, signed where a secret is given."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import asdict
from datetime import timedelta
from email.utils import mktime_tz, parsedate_tz
from typing import Annotated
from urllib.parse import urlsplit

import aiohttp
from pydantic import AfterValidator, Field

from daemon.clock import now
from daemon.notifiers._notifier import Message, Notifier, Permanent, Receipt, Retryable
from daemon.webhooks import signed
from fleet.durations import Duration
from fleet.errors import SecretError
from fleet.policy import Strict
from fleet.secrets import Secrets, SecretText

_LONGEST_WAIT = 3600.0


def _address(url: SecretText) -> SecretText:
    if not url.is_reference and not url.raw.startswith(("https://", "http://")):
        raise ValueError("is no http address")
    return url


class WebhookNotifier(Notifier):
    """The receiver answers 2xx once it has it, and knows by `webhook-id` what it has already."""

    name = "webhook"
    summary = "JSON posted to an address, signed as Standard Webhooks are"
    parallel = 4

    class Options(Strict):
        url: Annotated[SecretText, AfterValidator(_address)] = Field(
            description="the address, or a reference to it; it may hold ${env:NAME}"
        )
        secret: SecretText | None = Field(None, description="reference to the secret that signs; null: unsigned")
        token: SecretText | None = Field(None, description="reference to a bearer token; null: none is sent")
        timeout: Duration = Field(timedelta(seconds=10), gt=timedelta(0), description="for one request")

    def __init__(self, options: Options, secrets: Secrets) -> None:
        self._options = options
        self._secrets = secrets
        self._session: aiohttp.ClientSession | None = None

    async def send(self, message: Message) -> Receipt:
        body = json.dumps(asdict(message), ensure_ascii=False).encode(errors="replace")
        try:
            url = await self._secrets.fill(self._options.url)
            headers = await self._headers(message.id, body)
            timeout = aiohttp.ClientTimeout(total=self._options.timeout.total_seconds())
            # not where it sends us: what is signed is for this address
            async with self._open().post(
                url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                _judge(response)
                return Receipt(str(response.status))
        except SecretError as error:
            raise Retryable(error.message, hint=error.hint) from error
        except aiohttp.InvalidURL:
            raise Permanent("the address of the webhook is none") from None  # its text may hold a secret
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Retryable(f"the webhook does not answer ({type(error).__name__})") from None

    async def probe(self) -> str:
        """Whether its host is reached: a request of any kind could be taken for a message."""
        try:
            parts = urlsplit(await self._secrets.fill(self._options.url))
            async with asyncio.timeout(self._options.timeout.total_seconds()):
                port = parts.port or (443 if parts.scheme == "https" else 80)
                _, writer = await asyncio.open_connection(parts.hostname, port)
            writer.close()
        except SecretError as error:
            raise Retryable(error.message, hint=error.hint) from error
        except (ValueError, OSError, TimeoutError) as error:  # the address may hold a secret
            raise Retryable(f"its host cannot be reached ({type(error).__name__})") from None
        return "its host can be reached"

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _headers(self, message_id: str, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "User-Agent": "Custode"}
        if self._options.token is not None:
            headers["Authorization"] = f"Bearer {await self._secrets.fill(self._options.token)}"
        if self._options.secret is not None:
            secret = await self._secrets.fill(self._options.secret)
            headers |= signed(secret, _id(message_id), now(), body)
        return headers

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session


def _id(message_id: str) -> str:
    """Fit for a header, and the same whenever this message is sent."""
    return f"msg_{hashlib.sha256(message_id.encode(errors='replace')).hexdigest()[:32]}"


def _judge(response: aiohttp.ClientResponse) -> None:
    """Raises Retryable where it may take it later, Permanent where it never will."""
    status = response.status
    if 200 <= status < 300:
        return
    said = f"the webhook answers {status}"
    if status in {408, 425, 429} or status >= 500:
        raise Retryable(said, after=_after(response.headers.get("Retry-After", "")))
    if status in {401, 403, 404}:
        raise Retryable(said)  # somebody may mend that
    raise Permanent(said)


def _after(header: str) -> float | None:
    """Seconds that a Retry-After asks for: a number, or a date."""
    if header.isascii() and header.isdecimal():
        return min(float(header), _LONGEST_WAIT)
    parsed = parsedate_tz(header)
    return None if parsed is None else min(max(mktime_tz(parsed) - now(), 0.0), _LONGEST_WAIT)
