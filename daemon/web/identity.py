"""Who asks: over the control socket the kernel says the account, over TCP a token does."""

from __future__ import annotations

import asyncio
import pwd
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog
from aiohttp import web

from fleet.errors import CustodeError, SecretError
from fleet.secrets import Secrets

log = structlog.get_logger()

_PEER = struct.Struct("3i")  # pid, uid, gid of the process that connected
_WITHOUT = "; the custode command takes it from CUSTODE_TOKEN, and needs none on the daemon's machine"


class UnidentifiedError(CustodeError):
    """Whoever asks is nobody that we know."""

    code = "CU620"


class People(Protocol):
    """Those who may be known; what they may do is decided in the engine."""

    def by_local_user(self, account: str) -> str | None:
        """The person behind an account of this machine."""

    async def by_token(self, token: str, secrets: Secrets) -> str | None:
        """The person with this token. Raises SecretError where that cannot be told."""

    @property
    def token_hint(self) -> str:
        """What somebody without a token that counts can do."""


@dataclass(frozen=True, slots=True)
class Asker:
    """A person, and over what: `cli` is the control socket, `http` is TCP."""

    person: str
    via: str


class Identity:
    """Identifies whoever sent a request. `people` is asked each time, as the configuration may be read again."""

    def __init__(self, people: Callable[[], People], secrets: Secrets) -> None:
        self._people = people
        self._secrets = secrets

    async def of(self, request: web.Request) -> Asker:
        """Raises UnidentifiedError, and SecretError where whose token it is cannot be told."""
        uid = _peer_uid(request)
        if uid is not None:
            return Asker(await self._local(uid), "cli")
        return Asker(await self._with_token(request), "http")

    async def _local(self, uid: int) -> str:
        account = await asyncio.to_thread(_account, uid)  # may ask a directory service
        person = None if account is None else self._people().by_local_user(account)
        if person is None:
            log.warning("local_user_not_known", uid=uid, account=account)
            shown = f"the account {account}" if account else f"the user id {uid}, which has no account,"
            raise UnidentifiedError(
                f"{shown} is no operator here", hint="name it as an operator's local user in the configuration"
            )
        return person

    async def _with_token(self, request: web.Request) -> str:
        people = self._people()
        hint = people.token_hint + _WITHOUT
        scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise UnidentifiedError("who asks is not known", hint=hint)
        try:
            person = await people.by_token(token, self._secrets)
        except SecretError as error:
            log.error("tokens_cannot_be_read", error=error.message)  # noqa: TRY400 - no trace is needed
            # a stranger is not told which secret it is
            raise SecretError("whose token that is cannot be told now", hint="the daemon's log says why") from None
        if person is None:
            log.warning("token_not_known", remote=request.remote)
            raise UnidentifiedError("the token is not that of an operator", hint=hint)
        return person


def _peer_uid(request: web.Request) -> int | None:
    """The user id of the process at the other end of a Unix socket; None over TCP."""
    transport = request.transport
    peer = transport.get_extra_info("socket") if transport is not None else None
    if peer is None or peer.family != socket.AF_UNIX:
        return None
    _pid, uid, _gid = _PEER.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return int(uid)


def _account(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
