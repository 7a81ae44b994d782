"""The steps of the Dockerfile in clean roots, then the image as it is run: not as root, on a read-only file system."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.image.dockerfile import Stage, read_stages
from tests.image.roots import Root, debootstrap

PROJECT = Path(__file__).parents[2]
STAGES = read_stages(PROJECT / "Dockerfile")
CONFIGURATION = "listen: 127.0.0.1:0\nenvironments:\n  qa: {tier: qa, dsn: 'postgresql://custode@127.0.0.1:1/app'}\n"

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may make and enter roots"),
    pytest.mark.skipif(shutil.which("debootstrap") is None, reason="needs Debian's debootstrap"),
    pytest.mark.timeout(1800),
]


@dataclass
class Image:
    stage: Stage
    root: Root
    data: Path

    def command(self, *words: str) -> list[str]:
        volume = (self.data, self.stage.env["CUSTODE_DATA_DIR"])
        return self.root.command(words, user=self.stage.last("USER"), read_only=[volume])

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*words), capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    folder = Path(tempfile.mkdtemp(prefix="custode-image-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        debootstrap(folder / "base")
        roots: dict[str | None, Root] = {}
        for number, stage in enumerate(STAGES):
            roots[stage.name] = Root.build(stage, folder / "base", folder / str(number), PROJECT, roots)
        final = roots[STAGES[-1].name]
        (final.path / "etc/custode/custode.yml").write_text(CONFIGURATION)
        data = folder / "data"
        # as a new volume is: with the owner and mode of what it covers
        subprocess.run(["cp", "-a", str(final.path / "var/lib/custode"), str(data)], check=True)
        yield Image(STAGES[-1], final, data)
    finally:
        shutil.rmtree(folder)


def test_the_last_stage_holds_the_command_alone(image: Image) -> None:
    assert image.run("custode", "--version").stdout.startswith("custode ")
    assert not (image.root.path / "src").exists()
    assert not (image.root.path / "dist").exists()
    assert not list(image.root.path.glob("root/.cache/*"))


def test_it_is_not_root_and_its_number_is_fixed(image: Image) -> None:
    done = image.run("id", "-u")
    assert done.stdout.strip() == image.stage.last("USER").partition(":")[0] != "0"


def test_only_the_volume_and_tmp_can_be_written(image: Image) -> None:
    assert image.run("touch", "/var/lib/custode/x", "/tmp/x").returncode == 0  # noqa: S108
    for place in ("/x", "/opt/custode/x", "/etc/custode/x", "/var/x"):
        done = image.run("touch", place)
        assert done.returncode != 0, place


def test_check_finds_the_client_programs(image: Image) -> None:
    done = image.run("custode", "check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pg_dump: 18." in done.stdout


def test_a_stranger_in_the_working_directory_is_not_run(image: Image) -> None:
    (image.data / "daemon.py").write_text("raise SystemExit('a stranger')")
    try:
        assert image.run("python3", "-c", "import daemon; print(daemon.__file__)").stdout.startswith("/opt/custode/")
    finally:
        (image.data / "daemon.py").unlink()


def test_it_runs_is_found_healthy_and_stops_in_order(image: Image, tmp_path: Path) -> None:
    healthy = image.stage.command("HEALTHCHECK")
    assert image.run(*healthy).returncode == 1
    entry = [*image.stage.command("ENTRYPOINT"), *image.stage.command("CMD")]
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(image.command(*entry), stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 120
        while image.run(*healthy, "--ready").returncode != 0:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        done = image.run(*healthy)
        assert (done.returncode, done.stdout) == (0, "Custode is healthy.\n")
        daemon = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
        os.kill(daemon, signal.Signals[image.stage.last("STOPSIGNAL")])
        assert process.wait(timeout=60) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    assert image.run(*healthy).returncode == 1
