"""Every panel, annotation and variable of the dashboards shows something of the demonstration.

From a real Prometheus with the sample configuration, and from Custode itself: both can be a dashboard's data source.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from functools import partial
from importlib import resources
from typing import Any

import pytest
import yaml

from tests.acceptance.conftest import RunningDemo, free_port, until
from tests.unit.dashboard_rules import expressions, listed, substituted

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's prometheus"),
]
FOLDER = resources.files("dashboards")
NAMES = ("fleet", "environment", "vectors", "backups", "actions", "daemon")
CHOSEN = {"environment": {"environment": "production"}}  # where not all of them are chosen
# What may be empty, and why. That its metrics are exported is checked by the rules for dashboards.
MAY_BE_EMPTY = {
    "environment": {
        "Security D": "no server of the demonstration has a certificate",
        "Replication lag A": "it has no standby",
        "Replication lag B": "it has no standby",
        "Indexes that nobody uses A": "somebody may have dropped it",
        "annotation Server starts": "no server is started again",
    },
    "vectors": {
        "Recall, lower bound B": "measured only where somebody asked for it",
        "Found in memory A": "nobody may be searching just now",
        "Progress of builds A": "nothing is built just now",
    },
    "backups": {
        "Log kept for standbys A": "it has no standby",
        "Log kept for standbys B": "it has no standby",
    },
    "actions": {
        "Helped A": "no action may have ended in the time shown",
        "Questions A": "somebody may have answered",
        "Clicks in Slack A": "it has no Slack",
        "Asked for by others A": "nobody else asks",
    },
    "daemon": {
        **{f"Alertmanagers {each}": "it has no Alertmanager" for each in "ABC"},
        **{f"Who takes pages {each}": "it has no Alertmanager" for each in "ABC"},
        "annotation Custode starts": "the daemon is not started again",
    },
}
MAY_BE_EMPTY |= {
    name: {"annotation Actions": "no action may be at work", **MAY_BE_EMPTY.get(name, {})}
    for name in NAMES
    if name != "daemon"
}


@pytest.fixture(scope="module")
def prometheus(demo: RunningDemo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus as the sample has it, only faster, and with nobody to page."""
    folder = tmp_path_factory.mktemp("prometheus")
    with resources.as_file(FOLDER) as dashboards, resources.as_file(resources.files("rules")) as rules:
        config = yaml.safe_load((dashboards / "prometheus.yml").read_text(encoding="utf-8"))
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "2s"}
        config["scrape_configs"][0]["static_configs"] = [{"targets": [demo.address.removeprefix("http://")]}]
        config["rule_files"] = [str(dashboards / "custode.rules.yml"), str(rules / "*.yml")]
        del config["alerting"]["alertmanagers"]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        address = f"127.0.0.1:{free_port()}"
        arguments = (f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}")
        with (
            (folder / "log.txt").open("w") as log,
            subprocess.Popen(["prometheus", *arguments, f"--web.listen-address={address}"], stderr=log) as process,
        ):
            try:
                yield f"http://{address}"
            finally:
                process.terminate()


@pytest.fixture(params=["prometheus", "custode"])
def source(request: pytest.FixtureRequest, demo: RunningDemo) -> str:
    """The address of a data source."""
    return str(request.getfixturevalue("prometheus")) if request.param == "prometheus" else demo.address


def dashboard(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(FOLDER.joinpath(f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def ask(address: str, path: str, **parameters: str) -> Any:
    """What the data source answers, None as long as it cannot be reached."""
    url = f"{address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=20) as response:
            return json.load(response)["data"]
    except urllib.error.HTTPError as error:
        if error.code == 503:  # Prometheus is not ready yet
            return None
        raise AssertionError(error.read().decode()) from error
    except OSError:
        return None


def shows(address: str, expression: str) -> bool:
    """Whether there is data, of which none is NaN."""
    found = (ask(address, "query", query=expression) or {}).get("result", [])
    return bool(found) and all(sample["value"][1] != "NaN" for sample in found)


@pytest.mark.parametrize("name", NAMES)
def test_everything_on_it_shows_something(name: str, source: str) -> None:
    waiting = {
        where: substituted(expression, CHOSEN.get(name))
        for where, expression in expressions(dashboard(name))
        if not where.startswith("variable")
    }
    may_be_empty = MAY_BE_EMPTY[name]
    assert set(may_be_empty) <= set(waiting), "what may be empty is not there at all"
    deadline = time.monotonic() + 90
    while set(waiting) - set(may_be_empty) and time.monotonic() < deadline:
        waiting = {where: expression for where, expression in waiting.items() if not shows(source, expression)}
        time.sleep(0.5)
    assert set(waiting) <= set(may_be_empty)


@pytest.mark.parametrize("name", NAMES)
def test_variables_list_something(name: str, prometheus: str) -> None:
    for variable, (selector, label) in listed(dashboard(name)).items():
        asked = {"match[]": substituted(selector, CHOSEN.get(name))}
        values = partial(ask, prometheus, f"label/{label}/values", **asked)
        found = until(values, f"values for {variable}")
        if variable == "environment":
            assert found == ["development", "preprod", "production", "qa"]


def test_prometheus_judges_custode_s_rules_and_that_it_is_up(prometheus: str) -> None:
    until(lambda: shows(prometheus, 'ALERTS{alertstate="firing",environment="qa"}'), "the rules are evaluated")
    until(lambda: not shows(prometheus, 'ALERTS{alertname="CustodeDown"}'), "Custode is not down")
