"""A bucket of Amazon S3 or of any service that speaks its language."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

from fleet.errors import StoreError
from fleet.secrets import Secrets
from fleet.stores._s3_archive import archived, thaw
from fleet.stores._s3_connection import Endpoint, Login, S3Connection
from fleet.stores._s3_errors import CutOffError, code_of
from fleet.stores._s3_options import S3Options
from fleet.stores._s3_upload import cut, remove_left_overs, sha256, upload
from fleet.stores._store import Stat, Store, check_key

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

_CONTENTS = "objects/"  # what may be archived; manifests and indexes beside it are always readable
_READ_BYTES = 1 << 20
_LOOK_FIRST_BYTES = 64 << 10  # what is larger is not sent only to hear that it is there
_TRIES = 4
PAGE = 1000
# there already, somebody stores it now, or conditions are unknown to the service
_NOT_STORED = frozenset((HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT, HTTPStatus.NOT_IMPLEMENTED))


class S3Store(Store):
    """Objects of a bucket, below a prefix that is ours alone.

    Every upload carries its SHA-256, which the service checks. What fails in passing (500, "slow down", a timeout, a
    connection cut) is tried again, up to six times within a minute; an answer that broke off is continued where it
    ended.
    """

    name = "s3"
    summary: ClassVar[str] = "a bucket of Amazon S3, or of a service like it"

    class Options(S3Options):
        """Needs s3:ListBucket, GetObject, PutObject, DeleteObject, AbortMultipartUpload, ListBucketMultipartUploads."""

    def __init__(self, options: Options, secrets: Secrets) -> None:
        path_style = options.endpoint_url is not None if options.path_style is None else options.path_style
        endpoint = Endpoint(options.endpoint_url, options.region, path_style, options.timeout.total_seconds())
        login = Login(options.access_key_id, options.secret_access_key, options.session_token)
        self._options, self._bucket = options, options.bucket
        self._prefix = f"{options.prefix}/" if options.prefix else ""
        self._connection = S3Connection(endpoint, login, secrets)
        self._swept = False

    async def put(self, key: str, content: AsyncIterator[bytes]) -> Stat:
        full = self._key(key)
        async with aclosing(cut(content)) as parts:
            begun = [await anext(parts)]
            async for part in parts:
                begun.append(part)
                break
            await self._sweep(again=len(begun) > 1)
            extra = await self._extra(key)
            if len(begun) == 1:
                size = len(begun[0])
                await self._connection.call(f"cannot store {key}", partial(self._put, full, begun[0], extra))
            else:
                size = await upload(self._connection, self._bucket, full, _all(begun, parts), extra)
        stat = await self.stat(key)
        if stat is None or stat.size_bytes != size:
            raise StoreError(f"{key} is not there as it was stored", hint="does somebody else write there?")
        return stat

    async def put_new(self, key: str, content: bytes | bytearray) -> bool:
        full, what = self._key(key), f"cannot store {key}"
        content = bytes(content)
        await self._sweep()
        if len(content) >= _LOOK_FIRST_BYTES and await self._holds(key, len(content)):
            return False
        extra = await self._extra(key)
        if await self._connection.call(what, partial(self._put_if_absent, full, content, extra)):
            return True
        if await self._holds(key, len(content)):
            return False
        await self._connection.call(what, partial(self._put, full, content, extra))
        return True

    async def get(self, key: str) -> AsyncIterator[bytes]:
        full, what = self._key(key), f"cannot read {key}"
        at, etag, tries = 0, None, _TRIES
        while True:
            answer = await self._connection.call(what, partial(self._open, full, at, etag))
            body, etag, end = answer["Body"], answer["ETag"], at + answer["ContentLength"]
            try:
                while part := await self._connection.call(what, partial(_read, body)):
                    at, tries = at + len(part), _TRIES
                    yield part
            except CutOffError:
                tries -= 1
                if tries == 0 or at >= end:
                    raise
            else:
                return
            finally:
                body.close()

    async def list(self, prefix: str = "") -> list[Stat]:
        def pages(client: S3Client) -> list[Stat]:
            found = client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix, PaginationConfig={"PageSize": PAGE}
            )
            return [
                Stat(each["Key"].removeprefix(self._prefix), each["Size"], each["LastModified"].timestamp())
                for page in found
                for each in page.get("Contents", ())
                if not each["Key"].endswith("/")  # a folder, as a console makes them
            ]

        listed = await self._connection.call(f"cannot list {prefix}", pages)
        return sorted(listed, key=lambda stat: stat.key)

    async def delete(self, key: str) -> None:
        full = self._key(key)
        await self._connection.call(
            f"cannot delete {key}", lambda client: client.delete_object(Bucket=self._bucket, Key=full)
        )

    async def stat(self, key: str) -> Stat | None:
        full = self._key(key)
        found = await self._connection.call(f"cannot look at {key}", partial(self._head, full))
        return None if found is None else Stat(key, *found)

    async def thaw(self, keys: Iterable[str]) -> frozenset[str]:
        wanted = {self._key(key): key for key in keys}
        away = await self._connection.call(
            "cannot tell what is archived", lambda client: list(archived(client, self._bucket, wanted))
        )
        days, tier = self._options.thaw_days, self._options.thaw_tier
        readable = await asyncio.gather(
            *(
                self._connection.call(
                    f"cannot thaw {wanted[full]}", partial(thaw, bucket=self._bucket, key=full, days=days, tier=tier)
                )
                for full in away
            )
        )
        return frozenset(wanted[full] for full, ready in zip(away, readable, strict=True) if not ready)

    def _key(self, key: str) -> str:
        check_key(key)
        return self._prefix + key

    async def _holds(self, key: str, size: int) -> bool:
        found = await self.stat(key)
        return found is not None and found.size_bytes == size

    async def _sweep(self, *, again: bool = False) -> None:
        if again or not self._swept:
            self._swept = True
            await remove_left_overs(self._connection, self._bucket, self._prefix)

    async def _extra(self, key: str) -> dict[str, Any]:
        """What else is said when storing: the class, and until when it is locked, by the service's own clock."""
        extra: dict[str, Any] = {}
        if self._options.storage_class is not None and key.startswith(_CONTENTS):
            extra["StorageClass"] = self._options.storage_class
        if (lock := self._options.object_lock) is not None:
            answer = await self._connection.call(
                f"cannot store {key}", lambda client: client.head_bucket(Bucket=self._bucket)
            )
            now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
            extra["ObjectLockMode"] = lock.mode.upper()
            extra["ObjectLockRetainUntilDate"] = now + timedelta(days=lock.days)
        return extra

    def _put(self, full: str, content: bytes, extra: dict[str, Any], client: S3Client) -> None:
        client.put_object(Bucket=self._bucket, Key=full, Body=content, ChecksumSHA256=sha256(content), **extra)

    def _put_if_absent(self, full: str, content: bytes, extra: dict[str, Any], client: S3Client) -> bool:
        from botocore.exceptions import ClientError

        try:
            self._put(full, content, extra | {"IfNoneMatch": "*"}, client)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in _NOT_STORED:
                raise
            return False
        return True

    def _open(self, full: str, at: int, etag: str | None, client: S3Client) -> GetObjectOutputTypeDef:
        if at == 0 or etag is None:
            return client.get_object(Bucket=self._bucket, Key=full, ChecksumMode="ENABLED")
        return client.get_object(Bucket=self._bucket, Key=full, Range=f"bytes={at}-", IfMatch=etag)

    def _head(self, full: str, client: S3Client) -> tuple[int, float] | None:
        from botocore.exceptions import ClientError

        try:
            found = client.head_object(Bucket=self._bucket, Key=full)
        except ClientError as error:
            if code_of(error) == "404":
                return None
            # an answer to HEAD cannot say why: another question may be told
            client.list_objects_v2(Bucket=self._bucket, Prefix=full, MaxKeys=1)
            raise
        return found["ContentLength"], found["LastModified"].timestamp()


def _read(body: StreamingBody, _client: S3Client) -> bytes:
    return body.read(_READ_BYTES)


async def _all(begun: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Those taken already and the rest, none of them kept."""
    while begun:
        yield begun.pop(0)
    async for part in rest:
        yield part
