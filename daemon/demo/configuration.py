"""The demonstration's custode.yml: an ordinary configuration, so that every command works on the demonstration."""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
import socket
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from daemon import clock
from daemon.demo import faults, schema
from daemon.demo.fleet import DemoFleet
from daemon.demo.sites import SITES, Site
from fleet.disks.quota import allocated_bytes

NAME = "custode.yml"
_FREE_RATIO = 0.08  # of preprod's disk: below the promised 10 %, and above 5 % also when some WAL has been written
_ORDER = ("development", "qa", "preprod", "production")
_HEADER = """\
# Written by `custode demo` anew at each start. From another terminal, in this directory:
#   custode status        custode check --connect        custode list rules
"""


async def write_configuration(fleet: DemoFleet, port: int | None, token: str | None = None) -> Path:
    """Write the configuration of the running `fleet` into its directory; `port` None takes a free one.

    Whoever runs the demonstration signs in with `token`; None makes one that nobody knows.
    """
    account = pwd.getpwuid(os.geteuid()).pw_name
    release = await asyncio.to_thread(schema.write_release, fleet.directory / "release")
    environments = {site.name: _environment(fleet, site, release) for site in SITES}
    used = await asyncio.to_thread(allocated_bytes, fleet.directory / "preprod")
    environments["preprod"]["disks"] = {
        "quota": {"path": str(fleet.directory / "preprod"), "limit": round(used / (1 - _FREE_RATIO))}
    }
    environments["preprod"]["policy"]["window"] = _window(clock.now())
    # a refresh would take the planted faults away: so it waits for somebody who wants that
    environments["qa"]["policy"] |= {
        "data": {
            "mask_key": f"file:{await asyncio.to_thread(_private, fleet.directory / 'mask.key', secrets.token_hex(32))}"
        },
        "consent": {"actions": {"refresh": "one_approval"}},
    }
    environments["production"]["policy"] |= {
        "access": {"superusers": ["postgres"], "read_only_roles": [faults.OPS_ROLE]},
        "window": _open_window(clock.now()),
    }
    token_file = await asyncio.to_thread(_private, fleet.directory / "token", token or secrets.token_urlsafe(32))
    content = {
        "data_dir": str(fleet.directory / "custode"),
        "listen": f"127.0.0.1:{port or _free_port()}",
        "client_tools": str(fleet.bin_dir),
        "rules": {"interval": "5s"},
        # whoever runs it may do all, and anybody on this machine look
        "operators": {account: {"token": f"file:{token_file}"}},
        "access": {"anonymous": True, "roles": {account: "admin"}},
        "notifiers": {"console": {}, "jsonl": {"path": str(fleet.directory / "events.jsonl")}},
        "environments": {name: environments[name] for name in _ORDER},
    }
    path = fleet.directory / NAME
    text = _HEADER + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    await asyncio.to_thread(path.write_text, text, encoding="utf-8")
    return path


def _environment(fleet: DemoFleet, site: Site, release: Path) -> dict[str, Any]:
    return {
        "tier": site.name,
        "dsn": fleet.dsn(site.name),
        "databases": [site.database],
        "migrations": {
            "scripts": str(release / "versions"),
            "directory": str(release),
            "command": [sys.executable, "-m", "alembic"],
            "session_options": "url",
        },
        "disks": {"statvfs": {"path": str(fleet.directory)}},
        # the servers listen on Unix sockets only: there is no network to encrypt
        "tls": {"mode": "disable"},
        "policy": {"tls": {"required": False}},
    }


def _private(path: Path, text: str) -> Path:
    """A file that only its owner reads."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return path


def _window(now: float) -> dict[str, Any]:
    """A maintenance window that is days away: so the demonstration shows how an action waits, whatever day it is."""
    day = datetime.fromtimestamp(now, UTC) + timedelta(days=3)
    return {"days": [f"{day:%a}".lower()], "start": "02:00", "length": "4h", "timezone": "UTC"}


def _open_window(now: float) -> dict[str, Any]:
    """One that is open for most of a day: so what somebody approves begins at once."""
    days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    return {"days": days, "start": f"{datetime.fromtimestamp(now, UTC):%H}:00", "length": "20h", "timezone": "UTC"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
