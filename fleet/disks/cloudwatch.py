"""`cloudwatch`: the storage of an Amazon RDS instance, which has no disk that anybody may look at."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from pydantic import Field

from fleet.connections import Connections
from fleet.disks._source import DiskSource, Usage, WebUrl
from fleet.errors import CustodeError

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_rds import RDSClient

_GIB = 1024**3
_LOOK_BACK = timedelta(minutes=15)  # RDS publishes each minute, some minutes late


class CloudwatchSource(DiskSource):
    name = "cloudwatch"
    summary = "an RDS instance's FreeStorageSpace and AllocatedStorage: instance, region"

    class Options(DiskSource.Options):
        """Needs cloudwatch:GetMetricStatistics and rds:DescribeDBInstances; credentials as boto3 finds them."""

        instance: str = Field(description="name of the RDS instance (its DB identifier)")
        region: str = Field(description="AWS region that it is in, such as eu-south-1")
        endpoint_url: WebUrl | None = Field(None, description="another endpoint of AWS; null: the region's own")

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._instance, self._region, self._endpoint = options.instance, options.region, options.endpoint_url
        self._clients: tuple[RDSClient, CloudWatchClient] | None = None
        self._thread = ThreadPoolExecutor(1, "disks-cloudwatch")

    async def usage(self, connections: Connections) -> Sequence[Usage]:  # noqa: ARG002 - reads no database
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read)

    def _read(self) -> list[Usage]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            size, now = self._size()
            free = self._free(now)
        except (BotoCoreError, ClientError) as error:
            raise CustodeError(
                f"RDS instance {self._instance}: {error}", hint="are instance, region and permissions right?"
            ) from error
        return [] if size is None and free is None else [Usage(self._instance, size, free)]

    def _connect(self) -> tuple[RDSClient, CloudWatchClient]:
        if self._clients is None:
            import boto3
            from botocore.config import Config

            session = boto3.Session(region_name=self._region)
            config = Config(connect_timeout=3, read_timeout=3, retries={"total_max_attempts": 2})
            self._clients = (
                session.client("rds", endpoint_url=self._endpoint, config=config),
                session.client("cloudwatch", endpoint_url=self._endpoint, config=config),
            )
        return self._clients

    def _size(self) -> tuple[int | None, datetime]:
        """Bytes allocated, and the time by Amazon's own clock, which CloudWatch's times are in."""
        answer = self._connect()[0].describe_db_instances(DBInstanceIdentifier=self._instance)
        instance = answer["DBInstances"][0]
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        # Aurora's storage grows by itself, and says 1 GiB here
        fixed = not instance["Engine"].startswith("aurora")
        return (instance["AllocatedStorage"] * _GIB if fixed else None), now

    def _free(self, now: datetime) -> int | None:
        answer = self._connect()[1].get_metric_statistics(
            Namespace="AWS/RDS",
            MetricName="FreeStorageSpace",
            Dimensions=[{"Name": "DBInstanceIdentifier", "Value": self._instance}],
            StartTime=now - _LOOK_BACK,
            EndTime=now + timedelta(minutes=1),
            Period=60,
            Statistics=["Minimum"],
        )
        points = sorted(answer["Datapoints"], key=lambda point: point["Timestamp"])
        return int(points[-1]["Minimum"]) if points else None
