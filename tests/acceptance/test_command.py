"""What the command says when something is wrong: a clear text, a hint, the right exit status, no traceback."""

from pathlib import Path

import pytest

from tests.acceptance.conftest import custode

GOOD = """\
environments:
  qa:
    tier: qa
    dsn: env:CUSTODE_TEST_DSN
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("environments: [", "custode.yml:1: broken YAML"),
        ("environments:\n  qa:\n    tier: staging\n    dsn: postgresql://h/d\n", "environments.qa.tier"),
        ("enviroments: {}\n", "enviroments"),
        ("environments:\n  qa:\n    tier: qa\n    dsn: evn:NAME\n", "a reference of an unknown scheme"),
        ("environments:\n  qa:\n    tier: production\n    dsn: postgresql://u:geheim@h/d\n", "environments.qa.dsn"),
    ],
)
def test_a_bad_configuration_is_explained(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "custode.yml").write_text(text)
    done = custode("check", cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr.replace("\n", "")
    assert "CU10" in done.stderr
    assert "Traceback" not in done.stderr
    assert "geheim" not in done.stderr + done.stdout


@pytest.mark.parametrize("command", ["run", "once", "status"])
def test_nothing_starts_with_a_bad_configuration(tmp_path: Path, command: str) -> None:
    (tmp_path / "custode.yml").write_text("environments: 3\n")
    done = custode(command, cwd=tmp_path)
    assert done.returncode == 2
    assert "custode.yml:1: environments" in done.stderr


def test_no_configuration_at_all_points_to_the_demo(tmp_path: Path) -> None:
    done = custode("run", cwd=tmp_path)
    assert done.returncode == 2
    assert "custode demo" in done.stderr


def test_a_missing_secret_is_named_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "custode.yml").write_text(GOOD)
    done = custode("check", cwd=tmp_path)
    assert done.returncode != 0
    assert "CUSTODE_TEST_DSN" in done.stdout + done.stderr


def test_an_unreachable_environment_is_reported_by_check_and_by_once(tmp_path: Path) -> None:
    (tmp_path / "custode.yml").write_text(
        "environments:\n  qa:\n    tier: qa\n    dsn: postgresql://custode@127.0.0.1:1/d\n"
    )
    checked = custode("check", "--connect", cwd=tmp_path)
    assert checked.returncode == 1
    assert "qa" in checked.stdout
    looked = custode("once", cwd=tmp_path)
    assert looked.returncode == 1
    assert "EnvironmentDown" in looked.stdout


def test_the_example_is_a_valid_configuration_but_for_its_secrets(tmp_path: Path) -> None:
    (tmp_path / "custode.yml").write_text(custode("check", "--example").stdout)
    done = custode("check", cwd=tmp_path)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1), done.stderr
