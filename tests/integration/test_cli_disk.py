"""`custode cleanup` and `custode disk`: what they ask for, and how full disks look."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from daemon.cli import _cleanup, _disk
from daemon.cli._console import out
from rules import Labels
from tests.integration.action_site import Site, served
from tests.integration.prometheus_site import NOW, serving

GIB = 2.0**30
app = typer.Typer(pretty_exceptions_enable=False)
_cleanup.register(app)
_disk.register(app)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with served(tmp_path) as site:
        site.port.known = frozenset({"cleanup", "relieve_disk"})
        yield site


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out, "_width", 160)
    monkeypatch.delenv("CUSTODE_TOKEN", raising=False)
    monkeypatch.delenv("CUSTODE_URL", raising=False)


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_cleanup_asks_for_a_table(site: Site) -> None:
    result = run("cleanup", "qa", "-d", "app", "-t", "chat.messages", "--reason", "full", "-c", str(site.config))
    assert result.exit_code == 0
    made = next(iter(site.port.details.values())).run
    assert (made.action, made.reason) == ("cleanup", "full")
    assert made.parameters == {"datname": "app", "schemaname": "chat", "relname": "messages"}


def test_nothing_is_dropped_unless_it_is_said(site: Site) -> None:
    result = run("disk", "qa", "-c", str(site.config))
    assert result.exit_code == 0
    assert not site.port.details, "a dry run"
    result = run("disk", "qa", "--relieve", "-c", str(site.config))
    assert next(iter(site.port.details.values())).run.action == "relieve_disk"
    assert run("disk", "--relieve", "-c", str(site.config)).exit_code == 2


async def test_all_disks_with_what_is_left_of_them() -> None:
    async with serving() as site:
        assert (await asyncio.to_thread(run, "disk", "--url", site.url)).exit_code == 1, "nothing is known"
        samples = []
        for environment, available, full in (("qa", 5.0, 7200.0), ("preprod", 50.0, None)):
            labels = {"environment": environment, "mountpoint": "/data", "source": "sql"}
            values = {"size_bytes": 100 * GIB, "available_bytes": available * GIB, "full_seconds": full}
            samples += [
                (Labels({"__name__": f"custode_disk_{name}", **labels}), value)
                for name, value in values.items()
                if value is not None
            ]
            promised = Labels({"__name__": "custode_policy_disk_free_ratio", "environment": environment})
            samples.append((promised, 0.1))
        await site.run(lambda: site.store.land("qa/disks", NOW - 1, samples))
        result = await asyncio.to_thread(run, "disk", "--url", site.url)
        told = json.loads((await asyncio.to_thread(run, "disk", "--json", "--url", site.url)).stdout)
    assert result.exit_code == 1, "qa has less than it was promised"
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[1] == ["preprod", "/data", "sql", "100", "GiB", "50", "GiB", "50.0%", "-"]
    assert rows[2] == ["qa", "/data", "sql", "100", "GiB", "5", "GiB", "5.0%", "2h"]
    assert [one["environment"] for one in told] == ["preprod", "qa"]
    assert told[1]["full_seconds"] == 7200.0
