"""Archived objects (Glacier): which they are, and asking for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from fleet.stores._s3_errors import code_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.literals import TierType

_ARCHIVES = frozenset(("GLACIER", "DEEP_ARCHIVE"))
_MAY_ARCHIVE = _ARCHIVES | {"INTELLIGENT_TIERING"}
_RUNNING = "RestoreAlreadyInProgress"


def archived(client: S3Client, bucket: str, keys: Iterable[str]) -> Iterator[str]:
    """Those of `keys` (of whole names in the bucket) that may be archived, by few requests."""
    folders: dict[str, set[str]] = defaultdict(set)
    for key in keys:
        # contents lie in 256 folders of one environment: a page of a thousand of them is one request
        above = key.split("/")[:-2]
        folders["/".join(above) + "/" if above else ""].add(key)
    for folder, wanted in sorted(folders.items()):
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=folder):
            for found in page.get("Contents", ()):
                if found["Key"] in wanted and found.get("StorageClass") in _MAY_ARCHIVE:
                    yield found["Key"]


def thaw(client: S3Client, bucket: str, key: str, days: int, tier: TierType) -> bool:
    """Ask for one object unless that was done; whether it can be read already."""
    from botocore.exceptions import ClientError

    found = client.head_object(Bucket=bucket, Key=key)
    away = found.get("StorageClass") in _ARCHIVES or "ArchiveStatus" in found
    asked = found.get("Restore")
    if not away or (asked is not None and 'ongoing-request="false"' in asked):
        return True
    if asked is None:
        by_itself = found.get("StorageClass") == "INTELLIGENT_TIERING"  # moves back for good, and takes no days
        request = {"GlacierJobParameters": {"Tier": tier}}
        try:
            client.restore_object(
                Bucket=bucket, Key=key, RestoreRequest=request if by_itself else {"Days": days, **request}
            )
        except ClientError as error:
            if code_of(error) != _RUNNING:
                raise
    return False
