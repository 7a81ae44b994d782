"""Objects that are too large for one request, in parts: whole in the end, or nothing."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import structlog

from fleet.errors import StoreError
from fleet.stores._s3_connection import S3Connection

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

log = structlog.get_logger()

PART_BYTES = 8 << 20
_GROWS_AFTER = 2000  # parts; a service takes 10,000
_MAX_PARTS = 10_000
_AT_ONCE = 2
_ABORT_SECONDS = 30.0
_LEFT_OVER = timedelta(days=1)


def sha256(content: bytes) -> str:
    """As S3 wants it: in base64."""
    return b64encode(hashlib.sha256(content).digest()).decode()


def part_bytes(number: int) -> int:
    """The size of a part, counted from 1: 8 MiB, and more in very large objects, of which 240 GB fit."""
    return PART_BYTES * (1 + (number - 1) // _GROWS_AFTER)


async def cut(content: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Cut a stream into parts, at least one; only the last is shorter."""
    number, waiting = 1, bytearray()
    async for piece in content:
        waiting += piece
        while len(waiting) > (size := part_bytes(number)):
            with memoryview(waiting) as view:
                part = bytes(view[:size])
            del waiting[:size]
            yield part
            number += 1
    yield bytes(waiting)


async def upload(
    connection: S3Connection, bucket: str, key: str, parts: AsyncIterator[bytes], extra: Mapping[str, Any]
) -> int:
    """Store an object of several parts, three of them in memory; its size in bytes.

    Whatever goes wrong, nothing of it stays, unless the process is killed: see `remove_left_overs`.

    Raises:
        StoreError: it could not be stored, or has too many parts.
    """
    what = f"cannot store {key}"
    begun = await connection.call(
        what,
        lambda client: client.create_multipart_upload(Bucket=bucket, Key=key, ChecksumAlgorithm="SHA256", **extra),
    )
    id_ = begun["UploadId"]
    finished = False
    try:
        done, size = await _send(connection, bucket, key, id_, parts)
        await connection.call(
            what,
            lambda client: client.complete_multipart_upload(
                Bucket=bucket, Key=key, UploadId=id_, MultipartUpload={"Parts": done}
            ),
        )
        finished = True
    finally:
        if not finished:
            await _abort(connection, bucket, key, id_)
    return size


async def _send(
    connection: S3Connection, bucket: str, key: str, id_: str, parts: AsyncIterator[bytes]
) -> tuple[list[CompletedPartTypeDef], int]:
    places = asyncio.Semaphore(_AT_ONCE)
    done: dict[int, CompletedPartTypeDef] = {}

    async def send(number: int, part: bytes) -> None:
        def request(client: S3Client) -> CompletedPartTypeDef:
            digest = sha256(part)
            answer = client.upload_part(
                Bucket=bucket, Key=key, UploadId=id_, PartNumber=number, Body=part, ChecksumSHA256=digest
            )
            return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": digest}

        try:
            done[number] = await connection.call(f"cannot store {key}", request)
        finally:
            places.release()

    number = size = 0
    try:
        async with asyncio.TaskGroup() as group:
            async for part in parts:
                number, size = number + 1, size + len(part)
                if number > _MAX_PARTS:
                    raise StoreError(f"cannot store {key}: it is larger than S3 takes", hint="use the engine snapshot")
                await places.acquire()
                group.create_task(send(number, part))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return [done[number] for number in sorted(done)], size


async def _abort(connection: S3Connection, bucket: str, key: str, id_: str) -> None:
    try:
        async with asyncio.timeout(_ABORT_SECONDS):
            await connection.call(
                f"cannot abort the upload of {key}",
                lambda client: client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=id_),
            )
    except (StoreError, TimeoutError) as error:
        # why the upload failed is told; a later one sweeps up
        log.warning("store_upload_not_aborted", key=key, error=str(error))


async def remove_left_overs(connection: S3Connection, bucket: str, prefix: str) -> None:
    """Abort uploads below `prefix` that began more than a day ago, by the service's own clock: their process died."""

    def sweep(client: S3Client) -> int:
        swept = 0
        for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
            now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
            for found in page.get("Uploads", ()):
                if now - found["Initiated"] > _LEFT_OVER:
                    client.abort_multipart_upload(Bucket=bucket, Key=found["Key"], UploadId=found["UploadId"])
                    swept += 1
        return swept

    try:
        swept = await connection.call("cannot list unfinished uploads", sweep)
    except StoreError as error:
        # it costs some space, and must not cost a backup
        log.warning("store_left_overs_not_removed", error=error.message, hint=error.hint)
    else:
        if swept:
            log.info("store_left_overs_removed", uploads=swept)
