"""The protocol of sd_notify(3): a datagram to the socket that systemd names, nothing where it names none."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping

_RATE = 3  # beats in the time that systemd waits for one


class ServiceManager:
    """Tells systemd that the daemon is ready, is stopping, and that its event loop still goes round."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._watchdog_seconds = int(environment.get("WATCHDOG_USEC", 0)) / 1e6 if ours else 0.0

    def ready(self, status: str) -> None:
        self._tell(f"READY=1\nSTATUS={status}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    async def beat(self) -> None:
        """Until cancelled: say that we live; a loop that is blocked for too long does not, and is started anew."""
        if not self._watchdog_seconds:
            await asyncio.Event().wait()
        while True:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_seconds / _RATE)

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as end:
            try:
                end.sendto(state.encode(), self._address)
            except OSError:  # nobody listens any more: we guard the fleet all the same
                return
