"""Disk sources against what they read: file systems, `df`, a node_exporter's page."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import ValidationError

from fleet.connections import Connections
from fleet.disks import DiskSource, Usage
from fleet.disks.cloudwatch import CloudwatchSource
from fleet.disks.node_exporter import NodeExporterSource
from fleet.disks.quota import QuotaSource, allocated_bytes
from fleet.disks.sql import parse_df
from fleet.disks.statvfs import StatvfsSource
from fleet.environment import Environment
from fleet.errors import CustodeError
from fleet.policy import Tier
from fleet.secrets import Secrets, SecretText

GIB = 1024**3
NODE_PAGE = """\
# HELP node_filesystem_avail_bytes Filesystem space available to non-root users in bytes.
# TYPE node_filesystem_avail_bytes gauge
node_filesystem_avail_bytes{device="/dev/sda1",fstype="ext4",mountpoint="/"} 2.5e+10
node_filesystem_avail_bytes{device="/dev/sdb",fstype="xfs",mountpoint="/data \\"ü\\"",device_error=""} 7
node_filesystem_avail_bytes{device="tmpfs",fstype="tmpfs",mountpoint="/run"} 1e+06
# TYPE node_filesystem_size_bytes gauge
node_filesystem_size_bytes{device="/dev/sda1",fstype="ext4",mountpoint="/"} 1e+11
node_filesystem_size_bytes{device="tmpfs",fstype="tmpfs",mountpoint="/run"} 2e+06
node_load1 0.5
a line that nobody can parse {
"""


def read(source: DiskSource) -> list[Usage]:
    return asyncio.run(aread(source))


async def aread(source: DiskSource) -> list[Usage]:
    environment = Environment(name="e", tier=Tier.QA, dsn=SecretText("postgresql://nowhere/x"))
    return list(await source.usage(Connections(environment, Secrets(time.monotonic))))


def test_statvfs_tells_the_file_system_once(tmp_path: Path) -> None:
    usages = read(StatvfsSource(StatvfsSource.Options(path=tmp_path, paths=(tmp_path.parent,))))
    assert len(usages) == 1
    stat = os.statvfs(tmp_path)
    assert Path(usages[0].mountpoint).is_mount()
    assert usages[0].size_bytes == stat.f_blocks * stat.f_frsize
    assert usages[0].available_bytes is not None
    assert abs(usages[0].available_bytes - stat.f_bavail * stat.f_frsize) < GIB


def test_statvfs_names_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CustodeError, match="nowhere"):
        read(StatvfsSource(StatvfsSource.Options(path=tmp_path / "nowhere")))
    with pytest.raises(ValidationError, match="path or paths"):
        StatvfsSource.Options()


def test_quota_is_what_is_left_of_the_limit(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file").write_bytes(os.urandom(200_000))
    (tmp_path / "again").hardlink_to(tmp_path / "sub" / "file")
    (tmp_path / "out").symlink_to("/")
    used = allocated_bytes(tmp_path)
    assert 200_000 <= used < 300_000
    assert read(QuotaSource(QuotaSource.Options(path=tmp_path, limit=GIB))) == [
        Usage(str(tmp_path), GIB, GIB - used),
    ]


def test_quota_never_falls_below_zero(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10_000)
    assert read(QuotaSource(QuotaSource.Options(path=tmp_path, limit=1))) == [Usage(str(tmp_path), 1, 0)]


def test_quota_of_nothing_is_an_error_not_zero(tmp_path: Path) -> None:
    with pytest.raises(CustodeError, match="nowhere"):
        read(QuotaSource(QuotaSource.Options(path=tmp_path / "nowhere", limit=1)))


def test_df_of_posix() -> None:
    lines = [
        "Filesystem     1024-blocks     Used Available Capacity Mounted on",
        "/dev/sda1         51290592 12345678  36310048      26% /",
        "//nas/my share          10        5         5      50% /mnt/with space",
        "/dev/sda1         51290592 12345678  36310048      26% /",
        "-bash: something else",
    ]
    assert parse_df(lines) == [
        Usage("/", 51290592 * 1024, 36310048 * 1024),
        Usage("/mnt/with space", 10 * 1024, 5 * 1024),
    ]
    assert parse_df([]) == []


async def serve(handler: Any) -> TestServer:
    app = web.Application()
    app.router.add_get("/metrics", handler)
    server = TestServer(app)
    await server.start_server()
    return server


async def page(_request: web.Request) -> web.Response:
    return web.Response(text=NODE_PAGE)


async def test_node_exporter_tells_real_disks() -> None:
    server = await serve(page)
    url = str(server.make_url("/metrics"))
    assert await aread(NodeExporterSource(NodeExporterSource.Options(url=url))) == [
        Usage("/", 10**11, 25 * 10**9),
        Usage('/data "ü"', None, 7),
    ]
    only = NodeExporterSource.Options(url=url, mountpoints=("/run",))
    assert await aread(NodeExporterSource(only)) == [Usage("/run", 2_000_000, 1_000_000)]
    with pytest.raises(CustodeError, match="/backup"):
        await aread(NodeExporterSource(NodeExporterSource.Options(url=url, mountpoints=("/", "/backup"))))
    await server.close()


async def test_node_exporter_that_fails_shows_no_token() -> None:
    async def refuse(_request: web.Request) -> web.Response:
        raise web.HTTPForbidden

    server = await serve(refuse)
    url = server.make_url("/metrics").with_query("key=hidden")
    source = NodeExporterSource(NodeExporterSource.Options(url=str(url)))
    with pytest.raises(CustodeError, match="403") as refused:
        await aread(source)
    await server.close()
    with pytest.raises(CustodeError, match="cannot be read") as gone:
        await aread(source)
    assert "hidden" not in refused.value.message + gone.value.message


@pytest.mark.parametrize("login", ["u:hidden@", "hidden@", ":hidden@", "u:@"])
def test_a_url_of_a_disk_source_holds_no_password(login: str) -> None:
    for make in (
        lambda: NodeExporterSource.Options(url=f"https://{login}h:9100/metrics"),
        lambda: CloudwatchSource.Options(instance="i", region="r", endpoint_url=f"http://{login}h"),
    ):
        with pytest.raises(ValidationError, match="must hold no user and password") as refused:
            make()
        assert "hidden" not in str(refused.value)
    assert NodeExporterSource.Options(url="https://h:9100/metrics?collect[]=filesystem")
    assert CloudwatchSource.Options(instance="i", region="r").endpoint_url is None
