"""Disks: one failing source loses only itself; the server's own df; CloudWatch as moto plays it."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import boto3
import pytest
from moto.server import ThreadedMotoServer

from collectors import Target
from collectors.disks import DisksCollector
from fleet.connections import Connections
from fleet.disks import DiskSource, Usage
from fleet.disks.cloudwatch import CloudwatchSource
from fleet.environment import Environment
from fleet.errors import ConfigError, CustodeError
from fleet.policy import Tier
from fleet.secrets import Secrets, SecretText
from tests.integration.sites import Samples, Site, samples

GIB = 1024**3
REGION = "eu-south-1"
SIZE, AVAILABLE = "custode_disk_size_bytes", "custode_disk_available_bytes"


async def collect(target: Target, limit: float = 10) -> Samples:
    options = DisksCollector.Options(timeout=timedelta(seconds=limit))
    return samples(await DisksCollector(options).collect(target))


async def test_a_failing_source_loses_only_itself(site: Site, tmp_path: Path) -> None:
    disks: dict[str, dict[str, object]] = {
        "statvfs": {"path": str(tmp_path)},
        "quota": {"path": str(tmp_path / "nowhere"), "limit": 1000},
        "node_exporter": {"url": "ftp://x"},
        "floppy": {},
    }
    target = site.target(disks=disks)
    found = await collect(target)
    assert [source for _, source in found[SIZE]] == ["statvfs"]
    assert set(target.failures) == {"quota", "node_exporter", "floppy"}
    assert "disks.node_exporter.url" in str(target.failures["node_exporter"])
    unknown = target.failures["floppy"]
    assert isinstance(unknown, ConfigError)
    assert unknown.hint == "known are: cloudwatch, node_exporter, quota, sql, statvfs"


async def test_a_hanging_source_leaves_the_others_their_time(site: Site, tmp_path: Path) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    disks = {"node_exporter": {"url": f"http://127.0.0.1:{port}/"}, "quota": {"path": str(tmp_path), "limit": GIB}}
    target = site.target(disks=disks)
    async with server:
        found = await collect(target, limit=0.5)
    assert list(found[AVAILABLE]) == [(str(tmp_path), "quota")]
    assert isinstance(target.failures["node_exporter"], TimeoutError)


async def test_no_source_no_series(site: Site) -> None:
    target = site.target()
    assert await collect(target) == {}
    assert (target.failures, target.gaps) == ({}, {})


async def test_the_server_runs_df_and_nothing_stays(site: Site) -> None:
    target = site.target(user="postgres", disks={"sql": {}})
    found = await collect(target)
    assert target.failures == {}
    assert found[SIZE]
    assert all(0 < available < found[SIZE][disk] for disk, available in found[AVAILABLE].items())
    assert await site.sql.fetchval("select count(*) from pg_class where relname = 'custode_df'") == 0
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await target.fetch("create temporary table x ()")


async def test_a_role_that_may_not_run_programs_is_a_gap(site: Site) -> None:
    target = site.target(disks={"sql": {}})
    assert await collect(target) == {}
    assert set(target.gaps) == {"sql"}
    assert target.failures == {}


async def read_source(source: DiskSource) -> list[Usage]:
    environment = Environment(name="e", tier=Tier.QA, dsn=SecretText("postgresql://nowhere/x"))
    return list(await source.usage(Connections(environment, Secrets(time.monotonic))))


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        yield f"http://{host}:{port}"
    server.stop()


def make_instance(aws: str, name: str, free: list[float]) -> CloudwatchSource:
    rds = boto3.client("rds", region_name=REGION, endpoint_url=aws)
    rds.create_db_instance(
        DBInstanceIdentifier=name, DBInstanceClass="db.t3.micro", Engine="postgres", AllocatedStorage=20
    )
    cloudwatch = boto3.client("cloudwatch", region_name=REGION, endpoint_url=aws)
    for value in free:
        cloudwatch.put_metric_data(
            Namespace="AWS/RDS",
            MetricData=[
                {
                    "MetricName": "FreeStorageSpace",
                    "Dimensions": [{"Name": "DBInstanceIdentifier", "Value": name}],
                    "Timestamp": datetime.now(UTC),
                    "Value": value,
                    "Unit": "Bytes",
                }
            ],
        )
    return CloudwatchSource(CloudwatchSource.Options(instance=name, region=REGION, endpoint_url=aws))


async def test_cloudwatch_tells_size_and_free_space(aws: str) -> None:
    assert await read_source(make_instance(aws, "prod", [4.0 * GIB])) == [Usage("prod", 20 * GIB, 4 * GIB)]


async def test_cloudwatch_without_data_invents_none(aws: str) -> None:
    assert await read_source(make_instance(aws, "silent", [])) == [Usage("silent", 20 * GIB, None)]


async def test_cloudwatch_names_an_instance_that_is_not_there(aws: str) -> None:
    options = CloudwatchSource.Options(instance="nowhere", region=REGION, endpoint_url=aws)
    with pytest.raises(CustodeError, match="nowhere"):
        await read_source(CloudwatchSource(options))
