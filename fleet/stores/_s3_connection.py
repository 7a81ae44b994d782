"""A client of one S3 service: its login, its own few threads, its retries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog

from fleet.errors import SecretError, StoreError
from fleet.secrets import Secrets, SecretText
from fleet.stores._s3_errors import LOGIN_REFUSED, code_of, store_error

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = structlog.get_logger()

T = TypeVar("T")

THREADS = 8
ATTEMPTS = 6  # with waits of up to 1, 2, 4, 8 and 16 s between them, at random
_CONNECT_SECONDS = 10.0
_CANCEL_SECONDS = 5.0  # a request cannot be called back; one that hangs is left to its timeout


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the service is; None is what boto3 takes by itself. `timeout` in seconds, of one attempt."""

    url: str | None
    region: str | None
    path_style: bool
    timeout: float


@dataclass(frozen=True, slots=True)
class Login:
    """References to the credentials; all None is what boto3 finds: environment, profile, role."""

    key_id: SecretText | None
    secret: SecretText | None
    token: SecretText | None

    @property
    def texts(self) -> tuple[SecretText | None, ...]:
        return self.key_id, self.secret, self.token


class S3Connection:
    """Makes its client when first needed, and anew when the credentials changed."""

    def __init__(self, endpoint: Endpoint, login: Login, secrets: Secrets) -> None:
        self._endpoint, self._login, self._secrets = endpoint, login, secrets
        self._threads = ThreadPoolExecutor(THREADS, "store-s3")
        self._making = asyncio.Lock()
        self._made: tuple[tuple[str | None, ...], S3Client] | None = None

    async def call(self, what: str, function: Callable[[S3Client], T]) -> T:
        """Run `function` in a thread; where the login is refused, once more with what its source says now.

        Raises:
            StoreError: `what`, and why; caused by boto3's exception. CutOffError where an answer broke off.
        """
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        for last in (False, True):
            client = await self._client(what)
            try:
                return await self._in_thread(partial(function, client))
            except (BotoCoreError, ClientError, ResponseParserError) as error:
                if last or code_of(error) not in LOGIN_REFUSED:
                    raise store_error(what, error) from error
                log.info("store_login_refused", error=code_of(error))
                self._forget(client)
        raise AssertionError("the second try returns or raises")

    async def _client(self, what: str) -> S3Client:
        async with self._making:
            try:
                values = tuple([None if text is None else await self._secrets.fill(text) for text in self._login.texts])
            except SecretError as error:
                raise StoreError(f"{what}: {error.message}", hint=error.hint) from error
            if self._made is None or self._made[0] != values:
                self._made = values, await self._make(what, values)
            return self._made[1]

    async def _make(self, what: str, values: tuple[str | None, ...]) -> S3Client:
        from botocore.exceptions import BotoCoreError

        try:
            return await self._in_thread(partial(_make_client, self._endpoint, values))
        except (BotoCoreError, ValueError) as error:  # a profile that does not exist, an impossible URL
            raise store_error(what, error) from error

    def _forget(self, client: S3Client) -> None:
        if self._made is not None and self._made[1] is client:
            self._made = None
            for text in self._login.texts:
                if text is not None:
                    self._secrets.forget(text)

    async def _in_thread(self, function: Callable[[], T]) -> T:
        """Run in one of our threads. Cancelled, it is seen to end for some seconds: an upload is then aborted."""
        job = self._threads.submit(function)
        future = asyncio.wrap_future(job)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if not job.cancel():
                await asyncio.wait([future], timeout=_CANCEL_SECONDS)
            raise


def _make_client(endpoint: Endpoint, login: tuple[str | None, ...]) -> S3Client:
    import boto3
    from botocore.config import Config

    key_id, secret, token = login
    # a session of its own: the default one is not safe to share between threads
    session = boto3.Session(aws_access_key_id=key_id, aws_secret_access_key=secret, aws_session_token=token)
    region = endpoint.region or session.region_name or ("us-east-1" if endpoint.url else None)
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=endpoint.timeout,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=THREADS,
        s3={"addressing_style": "path" if endpoint.path_style else "virtual"},
        request_checksum_calculation="when_required",  # SHA-256 is sent with every upload, by us
    )
    return session.client("s3", region_name=region, endpoint_url=endpoint.url, config=config)
