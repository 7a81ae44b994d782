"""One database as a file of pg_dump, compressed: written as a stream, checked by reading back.

The custom format in a zstd frame, or SQL in gzip, as people make it by `pg_dump | gzip`.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, suppress
from typing import IO

import structlog
import zstandard

from fleet.backups.manifest import DatabaseDump, Table
from fleet.client_tools import Tool
from fleet.errors import ProcessError
from fleet.process import check_exit, run, running
from fleet.stores import Store

log = structlog.get_logger()

# Measured on 2 cores, 30,000 rows with vectors of 1536: pg_dump alone 3.4 s, with level 1 in 2 threads 6.1 s (zstd's
# own program: 5.5 s). pg_dump's --compress=zstd is often not built in, and exists since 16 only.
LEVEL, THREADS = 1, 2
_BATCH_BYTES = 1 << 20
_LOCK_WAIT = "30s"
_STALL_SECONDS = 900.0
_END_SECONDS = 5.0
_STDERR_BYTES = 4000
PLAIN_SUFFIX = ".sql.gz"
_PLAIN_END = b"-- PostgreSQL database dump complete"
_END_BYTES = 400
_GZIP = 31  # zlib's window of 15 bits, and 16 for gzip's header
_CONTENTS_BYTES = 64 << 20  # the archive's table of contents stands at its beginning

Tell = Callable[[int], None]


class Archive:
    """One run of pg_dump into a store; `size_bytes`, `plain_bytes` and `sha256` are final once `store` has returned."""

    def __init__(
        self, tool: Tool, variables: Mapping[str, str], snapshot: str, *, progress: Tell, plain: bool = False
    ) -> None:
        self.size_bytes = 0
        self.plain_bytes = 0
        self._command = (
            tool.path,
            f"--format={'plain' if plain else 'custom'}",
            "--compress=0",
            "--no-password",
            f"--lock-wait-timeout={_LOCK_WAIT}",
            f"--snapshot={snapshot}",
        )
        self._variables = variables
        self._progress = progress
        self._hash = hashlib.sha256()
        self._frame = _gzip() if plain else _zstd()

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    async def store(self, store: Store, key: str, *, on_first: Callable[[], Awaitable[None]]) -> None:
        """Dump into `key`; `on_first` is awaited when pg_dump has taken its snapshot and locks.

        Raises:
            ProcessError: pg_dump cannot start, says nothing for 15 minutes, or ends with another status than 0.
            StoreError: the store cannot take it.
        """
        async with running(self._command, env=self._variables) as process:
            said: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            try:
                async with aclosing(self._stream(process, said, on_first)) as stream:
                    await asyncio.gather(store.put(key, stream), _tail(_piped(process.stderr), said))
            finally:
                await _abandon(process)

    async def _stream(
        self,
        process: asyncio.subprocess.Process,
        said: asyncio.Future[bytes],
        on_first: Callable[[], Awaitable[None]],
    ) -> AsyncGenerator[bytes, None]:
        while batch := await _read_batch(_piped(process.stdout)):
            if not self.plain_bytes:
                await on_first()
            if part := await asyncio.to_thread(self._compress, batch):
                yield part
            self._progress(self.plain_bytes)
        stderr = await said
        await process.wait()
        check_exit(self._command, process, stderr)  # before the end, so that no store keeps a broken archive
        if stderr:
            log.warning("pg_dump_warned", said=stderr.decode(errors="replace").strip())
        yield await asyncio.to_thread(self._finish)

    def _compress(self, batch: bytes) -> bytes:
        self.plain_bytes += len(batch)
        return self._count(self._frame.compress(batch))

    def _finish(self) -> bytes:
        return self._count(self._frame.flush())

    def _count(self, part: bytes) -> bytes:
        self.size_bytes += len(part)
        self._hash.update(part)
        return part


async def find_dump_damage(store: Store, dump: DatabaseDump, pg_restore: Tool) -> list[str]:
    """Read a dump back and say what is wrong with it; an empty list means that it is what the manifest says.

    Compared are the size, the checksum, the decompressed size and whether pg_restore lists every table.

    Raises:
        StoreError, ProcessError: it could not be read or looked into, so nothing is known.
    """
    stat = await store.stat(dump.key)
    if stat is None:
        return [f"{dump.key} is missing"]
    if stat.size_bytes != dump.size_bytes:
        return [f"{dump.key} has {stat.size_bytes} bytes instead of {dump.size_bytes}"]
    with tempfile.NamedTemporaryFile(prefix="custode-") as contents:
        reading = _Reading(contents, plain=dump.key.endswith(PLAIN_SUFFIX))
        async for part in store.get(dump.key):
            await asyncio.to_thread(reading.take, part)
        if reading.sha256 != dump.sha256:
            return [f"{dump.key} has another checksum than when it was written"]
        if reading.broken or reading.plain_bytes != dump.plain_bytes:
            return [f"{dump.key} does not decompress: {reading.broken or 'its end is missing'}"]
        if dump.key.endswith(PLAIN_SUFFIX):
            return [] if _PLAIN_END in reading.end else [f"{dump.key} is not complete: pg_dump's last line is missing"]
        contents.flush()
        listed = await run([pg_restore.path, "--list", contents.name])
    return [f"{dump.key} lacks the table {table.schema_name}.{table.name}" for table in _missing(listed, dump.tables)]


class _Reading:
    """Digests an archive part by part, keeping its beginning."""

    def __init__(self, contents: IO[bytes], *, plain: bool) -> None:
        self.end = b""
        self.plain_bytes = 0
        self.broken: str | None = None
        self._contents = contents
        self._hash = hashlib.sha256()
        self._frame = zlib.decompressobj(_GZIP) if plain else zstandard.ZstdDecompressor().decompressobj()

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def take(self, part: bytes) -> None:
        self._hash.update(part)
        if self.broken:
            return
        try:
            plain = self._frame.decompress(part)
        except (zstandard.ZstdError, zlib.error) as error:
            self.broken = str(error)
            return
        self.end = (self.end + plain)[-_END_BYTES:]
        if self.plain_bytes < _CONTENTS_BYTES:
            self._contents.write(plain)
        self.plain_bytes += len(plain)


def _zstd() -> zstandard.ZstdCompressionObj:
    parameters = zstandard.ZstdCompressionParameters.from_level(LEVEL, threads=THREADS, write_checksum=True)
    return zstandard.ZstdCompressor(compression_params=parameters).compressobj()


def _gzip() -> zlib._Compress:
    return zlib.compressobj(wbits=_GZIP)


def _missing(listed: str, tables: Iterable[Table]) -> list[Table]:
    # a listed line is `215; 1259 16385 TABLE public messages owner`, line breaks in names turned into spaces; names
    # outside ASCII are compared without those letters, for the listing is in the encoding of the database
    lines = _ascii(listed)
    return [table for table in tables if f" TABLE {_ascii(table.schema_name)} {_ascii(table.name)} " not in lines]


def _ascii(text: str) -> str:
    return text.encode("ascii", "ignore").decode().replace("\r", " ").replace("\n", " ")


async def _read_batch(reader: asyncio.StreamReader) -> bytes:
    """About a megabyte, or what is left: fewer hops between the loop and the compressing thread."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_STALL_SECONDS):
            while size < _BATCH_BYTES and (part := await reader.read(_BATCH_BYTES)):
                parts.append(part)
                size += len(part)
    except TimeoutError as error:
        raise ProcessError(
            f"pg_dump gave nothing for {_STALL_SECONDS:g} s", hint="is the network to the server alive?"
        ) from error
    return b"".join(parts)


async def _abandon(process: asyncio.subprocess.Process) -> None:
    """End an unfinished child and empty its pipe: asyncio neither closes a full one nor sees the child's end."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                while await _piped(process.stdout).read(_BATCH_BYTES):
                    pass


async def _tail(reader: asyncio.StreamReader, said: asyncio.Future[bytes]) -> None:
    kept = b""
    while part := await reader.read(_STDERR_BYTES):
        kept = (kept + part)[-_STDERR_BYTES:]
    said.set_result(kept)


def _piped(reader: asyncio.StreamReader | None) -> asyncio.StreamReader:
    if reader is None:
        raise ProcessError("the output of a child is not piped")
    return reader
