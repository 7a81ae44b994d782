"""The API v2 of one Alertmanager."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import aiohttp

from daemon.config import AlertmanagerSettings
from daemon.notifiers import Permanent, Retryable
from fleet.errors import SecretError
from fleet.secrets import Secrets

_TOLD = 200  # characters of what it said


class Client:
    """Reaches the Alertmanager at `url`. Everything raises Retryable where it cannot, Permanent where it refuses."""

    def __init__(self, url: str, settings: AlertmanagerSettings, secrets: Secrets) -> None:
        self.url = url.rstrip("/")
        self._settings = settings
        self._secrets = secrets
        self._session: aiohttp.ClientSession | None = None

    async def post_alerts(self, alerts: Sequence[Mapping[str, Any]]) -> None:
        await self._ask("POST", "alerts", alerts)

    async def alerts(self) -> list[dict[str, Any]]:
        """All that are active there, with what silences or inhibits them."""
        found: list[dict[str, Any]] = await self._ask("GET", "alerts")
        return found

    async def silences(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self._ask("GET", "silences")
        return found

    async def post_silence(self, silence: Mapping[str, Any]) -> str:
        """The id of a silence made, or of the one with the `id` given, changed; Retryable where that is not known."""
        made: dict[str, str] = await self._ask("POST", "silences", silence, absent={})
        if "silenceID" not in made:
            raise Retryable(f"{self.url} does not know this silence")
        return made["silenceID"]

    async def expire_silence(self, silence_id: str) -> bool:
        """Whether it was known there."""
        return await self._ask("DELETE", f"silence/{quote(silence_id, safe='')}", absent=False) is not False

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _ask(self, method: str, path: str, body: object = None, *, absent: Any = ...) -> Any:
        """The answer; `absent`, where it is given, instead of 404."""
        try:
            headers, authorization = await self._credentials()
            async with self._open().request(
                method,
                f"{self.url}/api/v2/{path}",
                json=body,
                headers=headers,
                auth=authorization,
                allow_redirects=False,  # the credentials are for this address
            ) as response:
                if response.status != 200:
                    said = (await response.content.read(4 * _TOLD)).decode(errors="replace")
                    # 0.25 answers 500 where it is asked to end a silence that it does not know
                    if absent is not ... and (response.status == 404 or "silence not found" in said):
                        return absent
                    self._refuse(response, said)
                return await response.json() if response.content_type == "application/json" else None
        except SecretError as error:
            raise Retryable(f"{self.url}: {error.message}", hint=error.hint) from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Retryable(f"{self.url} does not answer: {error or type(error).__name__}") from error

    def _refuse(self, response: aiohttp.ClientResponse, said: str) -> None:
        message = f"{self.url} answers {response.status}: {' '.join(said.split())[:_TOLD]}"
        if response.status in {400, 404, 413, 422}:
            raise Permanent(message)
        raise Retryable(message)  # whoever is not let in may be soon

    async def _credentials(self) -> tuple[dict[str, str], aiohttp.BasicAuth | None]:
        settings = self._settings
        headers = {"User-Agent": "Custode"}
        if settings.token is not None:
            headers["Authorization"] = f"Bearer {await self._secrets.fill(settings.token)}"
            return headers, None
        if settings.user is None:
            return headers, None
        password = "" if settings.password is None else await self._secrets.fill(settings.password)
        return headers, aiohttp.BasicAuth(settings.user, password, encoding="utf-8")

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            ca_file = self._settings.ca_file
            context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._settings.timeout.total_seconds()),
                connector=aiohttp.TCPConnector(ssl=context),
            )
        return self._session


def make_clients(settings: AlertmanagerSettings, secrets: Secrets) -> list[Client]:
    """One for each address. Nothing is reached yet."""
    return [Client(url, settings, secrets) for url in settings.urls]
