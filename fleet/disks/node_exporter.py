"""`node_exporter`: file systems of another machine, as its Prometheus node_exporter tells them."""

from __future__ import annotations

import ssl
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from pydantic import Field
from yarl import URL

from fleet.connections import Connections
from fleet.disks._source import DiskSource, Usage, WebUrl
from fleet.errors import CustodeError

_SIZE, _AVAILABLE = "node_filesystem_size_bytes", "node_filesystem_avail_bytes"
_NO_DISKS = frozenset({"tmpfs", "devtmpfs", "ramfs", "squashfs", "overlay", "iso9660", "rootfs"})
_TIMEOUT = aiohttp.ClientTimeout(total=5)


class NodeExporterSource(DiskSource):
    name = "node_exporter"
    summary = "a node_exporter's page: url, mountpoints (default: all real disks), ca_file"

    class Options(DiskSource.Options):
        url: WebUrl = Field(description="its metrics page, such as https://db1:9100/metrics; without a password")
        mountpoints: tuple[str, ...] | None = Field(
            None, description="the file systems to watch; null: all but those in memory"
        )
        ca_file: Path | None = Field(
            None, description="authorities that an https page is verified by; null: the system's"
        )

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._url = URL(options.url)
        self._shown_url = str(self._url.with_query(None))  # which may hold a token
        self._mountpoints = options.mountpoints
        self._tls = ssl.create_default_context(cafile=options.ca_file) if options.ca_file else True

    async def usage(self, connections: Connections) -> Sequence[Usage]:  # noqa: ARG002 - reads no database
        try:
            found = _parse(await self._fetch())
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = "no answer within 5 s" if isinstance(error, TimeoutError) else type(error).__name__
            raise CustodeError(f"{self._shown_url} cannot be read: {reason}") from error
        if self._mountpoints is None:
            return [usage for usage, fstype in found.values() if fstype not in _NO_DISKS]
        missing = [mountpoint for mountpoint in self._mountpoints if mountpoint not in found]
        if missing:
            raise CustodeError(f"{self._shown_url} tells of no file system at {', '.join(missing)}", hint="mounted?")
        return [found[mountpoint][0] for mountpoint in self._mountpoints]

    async def _fetch(self) -> str:
        """The lines about file systems: parsing the whole page would hold the event loop."""
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.get(self._url, ssl=self._tls, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise CustodeError(f"{self._shown_url} answers with status {response.status}")
            return "".join(
                [
                    line.decode()
                    async for line in response.content
                    if line.startswith((_SIZE.encode(), _AVAILABLE.encode()))
                ]
            )


def _parse(text: str) -> dict[str, tuple[Usage, str]]:
    """Usage and file system type by mount point. Raises ValueError."""
    values: dict[str, dict[str, int]] = defaultdict(dict)
    types: dict[str, str] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            mountpoint = sample.labels["mountpoint"]
            values[mountpoint][sample.name] = int(sample.value)
            types[mountpoint] = sample.labels.get("fstype", "")
    return {
        mountpoint: (Usage(mountpoint, value.get(_SIZE), value.get(_AVAILABLE)), types[mountpoint])
        for mountpoint, value in values.items()
    }
