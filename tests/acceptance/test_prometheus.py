"""A real Prometheus scrapes the demonstration."""

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import RunningDemo, free_port, until

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's prometheus"),
]


def test_prometheus_scrapes_it_and_answers_queries(demo: RunningDemo, tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "prometheus.yml"
    target = demo.address.removeprefix("http://")
    config.write_text(
        json.dumps(
            {
                "global": {"scrape_interval": "1s"},
                "scrape_configs": [{"job_name": "custode", "static_configs": [{"targets": [target]}]}],
            }
        )
    )
    listen = f"--web.listen-address=127.0.0.1:{port}"
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}", listen]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            answer = until(lambda: query(port, "custode_up"), "Prometheus has scraped the daemon")
            assert {sample["metric"]["environment"] for sample in answer} == {
                "development",
                "qa",
                "preprod",
                "production",
            }
            assert {sample["value"][1] for sample in answer} == {"1"}
            (series,) = query(port, "count({__name__=~'custode_.+'})")
            assert int(series["value"][1]) > 1000
        finally:
            process.terminate()


def query(port: int, expression: str) -> Any:
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return json.load(response)["data"]["result"]
    except OSError:
        return []


def test_promtool_finds_nothing_on_the_page(demo: RunningDemo) -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=demo.get("/metrics"), capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
