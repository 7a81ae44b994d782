"""Those who may be known, as the configuration names them, and whom the kernel says is at the control socket."""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import struct
from collections.abc import Mapping
from typing import Protocol

from aiohttp import web

from fleet.secrets import Secrets

_PEER = struct.Struct("3i")  # pid, uid, gid of the process that connected


class People(Protocol):
    """Operators; what they may do is decided in the engine."""

    @property
    def configured(self) -> Mapping[str, object]:
        """By name; without any, the daemon's own account may everything from its machine."""

    @property
    def have_tokens(self) -> bool:
        """Whether anybody has a token."""

    @property
    def token_hint(self) -> str:
        """What somebody without a token that counts can do."""

    def by_local_user(self, account: str) -> str | None:
        """The person behind an account of this machine."""

    async def by_digest(self, digest: bytes, secrets: Secrets) -> str | None:
        """The person whose token has this SHA-256. Raises SecretError where that cannot be told."""


def peer_uid(request: web.Request) -> int | None:
    """The user id of the process at the other end of a Unix socket; None over TCP."""
    transport = request.transport
    peer = transport.get_extra_info("socket") if transport is not None else None
    if peer is None or peer.family != socket.AF_UNIX:
        return None
    return uid_of(peer)


def uid_of(peer: socket.socket) -> int:
    """The user id of the process at the other end of a Unix socket."""
    _pid, uid, _gid = _PEER.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return int(uid)


def is_own_account(uid: int) -> bool:
    """Whether a user id is root's or the daemon's own: these may send it signals as well."""
    return uid in {0, os.geteuid()}


def own_account() -> str:
    """The name of the account that runs the daemon; empty where it has none."""
    return _account(os.geteuid()) or ""


async def account_of(uid: int) -> str | None:
    """The account with this user id; may ask a directory service."""
    return await asyncio.to_thread(_account, uid)


def _account(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
