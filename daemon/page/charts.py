"""Charts of one environment: what is asked of the sample store, and how `charts.js` is to draw it.

A chart stands beside a sentence or a table that says the same, so it is an addition for those who have scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from daemon.views.disks import Disk
from daemon.views.environment import EnvironmentView
from rules.strconv import quote

HOURS = 6.0


@dataclass(frozen=True, slots=True)
class Chart:
    """`query` is PromQL over the last `hours`; series are called by the label `by`, by `title` where it is "".

    `limit` is a line across, called `limit_title`. `full_seconds` from now on the values reach 0: a line goes there.
    """

    id: str
    title: str
    query: str
    unit: Literal["bytes", "number"]
    by: str = ""
    limit: float | None = None
    limit_title: str = ""
    full_seconds: float | None = None
    hours: float = HOURS


def database_sizes(view: EnvironmentView) -> Chart:
    name = quote(view.summary.name)
    query = f'topk(8, custode_database_size_bytes{{environment={name},datname!~"template[01]"}})'
    return Chart("chart-databases", "Size of databases", query, "bytes", by="datname")


def connections(view: EnvironmentView) -> Chart:
    query = f"sum(custode_database_sessions{{environment={quote(view.summary.name)}}})"
    most = view.connections.available
    return Chart("chart-connections", "Connections", query, "number", limit=most, limit_title="most")


def disks(view: EnvironmentView) -> Sequence[tuple[Disk, Chart]]:
    """One each, for disks differ too much to stand in one."""
    return [(disk, _disk(view.summary.name, number, disk)) for number, disk in enumerate(view.disks)]


def _disk(environment: str, number: int, disk: Disk) -> Chart:
    where = f"mountpoint={quote(disk.mountpoint)},source={quote(disk.source)}"
    return Chart(
        f"chart-disk-{number}",
        f"Free on {disk.mountpoint}",
        f"custode_disk_available_bytes{{environment={quote(environment)},{where}}}",
        "bytes",
        limit=None if disk.promised_ratio is None else disk.promised_ratio * disk.size_bytes,
        limit_title="promised",
        full_seconds=disk.full_seconds,
    )
