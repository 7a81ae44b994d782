"""The columns of the status table: what is promised, and the figures that show it kept.

Whether a promise is broken is the rules' business: their label `promise` names the column. Here stands only what to
show while it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from fleet.durations import format_duration


class Fact(NamedTuple):
    """One element of a query's answer."""

    value: float
    labels: Mapping[str, str]


Facts = Mapping[str, Fact]
Query = Callable[[str], Mapping[str, Fact]]  # PromQL to one fact an environment


@dataclass(frozen=True, slots=True)
class Promise:
    """A column. `made` is the query that answers for the environments to which it is promised; `facts` feed `say`."""

    name: str
    title: str
    made: str
    facts: Mapping[str, str]
    say: Callable[[Facts], str]


def age(fact: Fact) -> str:
    """A number of seconds in its two largest units: `2d5h`."""
    seconds = max(0, int(fact.value))
    for unit in (86_400, 3600, 60):
        if seconds >= unit * 2:
            seconds -= seconds % (3600 if unit == 86_400 else 60 if unit == 3600 else 1)
            break
    return format_duration(timedelta(seconds=seconds))


def size(fact: Fact) -> str:
    """A number of bytes in binary units."""
    value = fact.value
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def percent(fact: Fact) -> str:
    return f"{fact.value:.0%}"


def _data(facts: Facts) -> str:
    said = []
    if "refresh" in facts:
        said.append(f"refreshed {age(facts['refresh'])} ago")
    if "oldest" in facts:
        said.append(f"oldest row {age(facts['oldest'])}")
    return ", ".join(said) or "nothing kept too long"


def _security(facts: Facts) -> str:
    plaintext, superusers = facts["plaintext"].value, facts["superusers"].value
    return f"{plaintext:.0f} plaintext, {superusers:.0f} superuser{'s' if superusers != 1 else ''}"


def _vectors(facts: Facts) -> str:
    return f"{facts['count'].value:.0f} vector index{'es' if facts['count'].value > 1 else ''}"


PROMISES: tuple[Promise, ...] = (
    Promise(
        "reachable",
        "Reachable",
        made="custode_up",
        facts={"server": "custode_server_info"},
        say=lambda f: f"PostgreSQL {f['server'].labels.get('version', '?').split()[0]}",
    ),
    Promise(
        "backup",
        "Backup",
        made="custode_policy_backup_interval_seconds",
        facts={
            "age": "time() - max by (environment) (custode_backup_recovery_point_timestamp_seconds)",
            "limit": "custode_policy_backup_interval_seconds",
        },
        say=lambda f: f"{age(f['age'])} old, due every {age(f['limit'])}",
    ),
    Promise(
        "restore_test",
        "Restore test",
        made="custode_policy_restore_test_interval_seconds",
        facts={
            "age": "time() - max by (environment) (custode_restore_test_last_success_timestamp_seconds)",
            "limit": "custode_policy_restore_test_interval_seconds",
        },
        say=lambda f: f"{age(f['age'])} ago, due every {age(f['limit'])}",
    ),
    Promise(
        "schema",
        "Schema",
        made="custode_policy_same_schema == 1",
        facts={"objects": "sum by (environment) (custode_schema_objects)", "revision": "custode_schema_revision_info"},
        say=lambda f: f"{f['revision'].labels.get('revision', '?')}, {f['objects'].value:.0f} objects",
    ),
    Promise(
        "vectors",
        "Vector indexes",
        made="count by (environment) (custode_vector_index_info)",
        facts={"count": "count by (environment) (custode_vector_index_info)"},
        say=_vectors,
    ),
    Promise(
        "indexes",
        "Indexes",
        made="custode_up",
        facts={
            "count": "count by (environment) (custode_index_valid)",
            "size": "sum by (environment) (custode_index_size_bytes)",
        },
        say=lambda f: f"{f['count'].value:.0f} indexes, {size(f['size'])}",
    ),
    Promise(
        "disk",
        "Disk",
        made="custode_policy_disk_free_ratio",
        facts={"free": "min by (environment) (custode_disk_available_bytes / custode_disk_size_bytes)"},
        say=lambda f: f"{percent(f['free'])} free",
    ),
    Promise(
        "security",
        "Security",
        made="custode_up",
        facts={"plaintext": "custode_plaintext_sessions", "superusers": "custode_superusers"},
        say=_security,
    ),
    Promise(
        "data",
        "Data",
        made=("custode_policy_refresh_interval_seconds or max by (environment) (custode_policy_row_retention_seconds)"),
        facts={
            "refresh": "time() - custode_refresh_last_success_timestamp_seconds",
            "oldest": "time() - min by (environment) (custode_table_oldest_row_timestamp_seconds)",
        },
        say=_data,
    ),
)
