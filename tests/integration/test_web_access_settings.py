"""What the configuration and web.yml say of access, as a server lives by it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from daemon.data_dir import SOCKET_NAME
from daemon.web.access.policy import read_policy
from daemon.web.control_socket import socket_path
from tests.access_site import (
    TOKENS,
    Clock,
    Site,
    access_of,
    basic,
    bearer,
    hashed,
    made,
    probes,
    serving,
    settings_with,
    write_web_config,
)

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    write_web_config(tmp_path)
    async with made(access_of(settings_with(tmp_path))) as site:
        yield site


async def test_without_anybody_who_could_be_known_reading_is_open(tmp_path: Path) -> None:
    """And a reload to whoever is on the machine, as Prometheus has it; but not through a proxy."""
    async with made(access_of(settings_with(tmp_path, {})), control=tmp_path) as site:
        assert await site.who({}) == {"person": None, "role": "VIEWER", "via": "http", "csrf": ""}
        assert await site.status("POST", "/api/v1/operator") == 401
        assert await site.status("GET", "/api/v1/viewer", bearer("x")) == 401
        assert await site.status("POST", "/-/reload") == 200
        for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
            assert await site.status("POST", "/-/reload", {name: "10.0.0.1"}) == 401
        with socket_path(tmp_path) as path:
            connector = aiohttp.UnixConnector(path)
            async with aiohttp.ClientSession("http://custode", connector=connector) as local:
                async with local.post("/-/reload", headers={"Host": "evil.example"}) as answer:
                    assert answer.status == 200
                async with local.post("/api/v1/admin") as answer:
                    assert answer.status == (200 if os.geteuid() == 0 else 401)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another account")
@pytest.mark.parametrize(
    ("access", "operators", "uid", "status"),
    [
        ({}, {}, 65534, 200),
        ({}, {"carla": {}}, 65534, 401),
        ({"tokens": {"t": {"token": "env:T"}}}, {}, 65534, 401),
        ({"tokens": {"t": {"token": "env:T"}}}, {"carla": {}}, 0, 200),
    ],
)
async def test_who_reloads_over_the_control_socket(
    scratch: Path, access: dict[str, Any], operators: dict[str, Any], uid: int, status: int
) -> None:
    asking = (
        "import http.client, socket, sys; c = http.client.HTTPConnection('custode'); c.sock = socket.socket(1);"
        "c.sock.connect(sys.argv[1]); c.request('POST', '/-/reload', b''); sys.exit(c.getresponse().status // 100 - 2)"
    )
    control = Path(tempfile.mkdtemp(dir=scratch))
    control.chmod(0o755)  # noqa: ASYNC240 - another account is to enter
    async with made(access_of(settings_with(scratch, access, operators=operators)), control=control):
        command = ("/usr/bin/env", "python3", "-I", "-c", asking, str(control / SOCKET_NAME))
        done = await asyncio.create_subprocess_exec(*command, user=uid, group=uid, env={"PATH": os.defpath}, cwd="/")
        assert await done.wait() == status // 100 - 2


async def test_with_tokens_a_reload_is_for_admins(site: Site) -> None:
    assert await site.status("POST", "/-/reload") == 401
    assert await site.status("POST", "/-/reload", bearer(TOKENS["operator"])) == 403
    assert await site.status("POST", "/-/reload", bearer(TOKENS["admin"])) == 200


async def test_reading_may_be_left_open(tmp_path: Path) -> None:
    async with made(
        access_of(settings_with(tmp_path, {"anonymous": True, "tokens": {"t": {"token": "env:T"}}}))
    ) as site:
        assert await site.status("GET", "/api/v1/viewer") == 200
        assert await site.status("POST", "/-/reload") == 401
        assert await site.status("POST", "/api/v1/operator") == 401


async def test_a_route_that_nobody_declared_is_open_to_nobody(tmp_path: Path) -> None:
    async def hidden(_request: web.Request) -> web.Response:
        return web.Response(text="hidden")

    def register(application: web.Application) -> None:
        application.router.add_get("/hidden", hidden)

    write_web_config(tmp_path)
    access = access_of(settings_with(tmp_path))
    async with serving(access, [register, probes(access)]) as (_, session):
        for headers in ({}, bearer(TOKENS["admin"]), basic("ada")):
            async with session.get("/hidden", headers=headers) as answer:
                assert answer.status == 404


async def test_requests_are_bounded_where_web_yml_says_so(tmp_path: Path, clock: Clock) -> None:
    write_web_config(tmp_path, rate_limit={"interval": "1s", "burst": 3})
    async with made(access_of(settings_with(tmp_path), clock)) as site:
        statuses = [await site.status("GET", "/-/healthy") for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        clock.now += 1
        assert await site.status("GET", "/-/healthy") == 200


async def test_headers_of_web_yml_add_to_ours_or_stand_in_their_place(tmp_path: Path) -> None:
    headers = {"X-Frame-Options": "SAMEORIGIN", "Strict-Transport-Security": "max-age=600"}
    write_web_config(tmp_path, http_server_config={"headers": headers})
    async with made(access_of(settings_with(tmp_path))) as site, site.session.get("/-/healthy") as answer:
        assert {name: answer.headers[name] for name in headers} == headers
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    write_web_config(tmp_path)
    async with made(access_of(settings_with(tmp_path))) as site, site.session.get("/-/healthy") as answer:
        assert "Strict-Transport-Security" not in answer.headers


async def test_a_web_yml_that_changes_holds_at_once_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    path = write_web_config(tmp_path)
    settings = settings_with(tmp_path)
    access = access_of(settings)

    async def logged(event: str) -> None:
        async with asyncio.timeout(60):
            while not any(entry["event"] == event for entry in logs):  # noqa: ASYNC110 - nobody tells of a log
                await asyncio.sleep(0.02)

    with capture_logs() as logs:
        async with made(access) as site, asyncio.TaskGroup() as group:
            watching = group.create_task(access.watch(lambda: settings, every=0.02))
            assert await site.status("GET", "/api/v1/viewer", basic("ada")) == 200
            path.write_text("basic_auth_users: {ada: broken}")
            await logged("web_config_refused")
            assert await site.status("GET", "/api/v1/viewer", basic("ada")) == 200
            write_web_config(tmp_path, basic_auth_users={"vera": hashed("new")})
            await logged("web_config_read")
            assert await site.status("GET", "/api/v1/viewer", basic("ada")) == 401
            assert await site.status("GET", "/api/v1/viewer", basic("vera", "new")) == 200
            watching.cancel()
    events = [entry["event"] for entry in logs if entry["event"].startswith("web_config")]
    assert events == ["web_config_refused", "web_config_read"]
    assert "basic_auth_users.ada: is no bcrypt hash" in str(logs)


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_says_of_our_web_yml_what_we_say(tmp_path: Path) -> None:
    def judged() -> bool:
        done = subprocess.run(
            ["promtool", "check", "web-config", tmp_path / "web.yml"], capture_output=True, text=True, check=False
        )
        return done.returncode == 0

    good: list[dict[str, Any]] = [
        {},
        {"http_server_config": {"http2": False, "headers": {"X-Frame-Options": "deny"}}},
        {"basic_auth_users": {}},
    ]
    for sections in good:
        write_web_config(tmp_path, **sections)
        assert judged(), sections
        read_policy(settings_with(tmp_path))
    (tmp_path / "web.yml").write_text("basic_auth_user: {}\n")
    assert not judged()
