"""The migration settings of a configuration: where scripts are, who comes first, who must agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.check._files import check_environment_files
from daemon.check._report import Notes
from daemon.config import ConfigError, parse
from fleet.environment import Environment
from fleet.policy import TIER_DEFAULTS, Consent, ConsentPolicy, Risk, Tier

SOURCE = Path("/etc/custode/custode.yml")
FLEET = """
environments:
  dev: {tier: development, dsn: 'env:A', migrations: {scripts: app}}
  laptop: {tier: development, dsn: 'env:A'}
  qa: {tier: qa, dsn: 'env:B', migrations: {git: {path: clone, ref: v1, folder: app/versions}}}
  other: {tier: qa, dsn: 'env:B', migrations: {scripts: app, tried_on: []}}
  live: {tier: production, dsn: 'env:C', migrations: {scripts: app, directory: app}}
"""


def test_all_of_lower_tiers_with_scripts_come_first_unless_it_is_said() -> None:
    found = {name: one.migrations.tried_on for name, one in parse(FLEET, SOURCE).environments.items()}
    assert found == {"dev": (), "laptop": None, "qa": ("dev",), "other": (), "live": ("dev", "qa", "other")}


def test_paths_begin_where_the_configuration_is() -> None:
    environments = parse(FLEET, SOURCE).environments
    assert environments["live"].migrations.directory == Path("/etc/custode/app")
    git = environments["qa"].migrations.git
    assert git is not None
    assert (git.path, git.ref, git.folder) == (Path("/etc/custode/clone"), "v1", "app/versions")


@pytest.mark.parametrize(
    ("settings", "path", "said"),
    [
        ("migrations: {scripts: a, tried_on: [tow]}", "migrations.tried_on", "there is no environment tow"),
        ("migrations: {scripts: a, tried_on: [one]}", "migrations.tried_on", "wait for each other"),
        ("migrations: {scripts: a, tried_on: [two]}", "migrations.tried_on", "wait for each other"),
        ("migrations: {scripts: a, git: {path: b}}", "migrations", "not both"),
        ("migrations: {git: {path: b, ref: '--output=x'}}", "migrations.git.ref", "pattern"),
        ("migrations: {command: []}", "migrations.command", "at least 1"),
        ("migrations: {url_variable: 'A B'}", "migrations.url_variable", "pattern"),
        ("migrations: {lock_timeout: 0s}", "migrations.lock_timeout", "greater than 0"),
        ("migrations: {ignore: [tmp_*]}", "migrations.ignore[0]", "pattern"),
        ("policy: {consent: {actions: {migarte: auto}}}", "policy.consent.actions.migarte", "no such action"),
    ],
)
def test_what_is_wrong_is_told(settings: str, path: str, said: str) -> None:
    text = f"""
environments:
  one: {{tier: qa, dsn: 'env:A', {settings}}}
  two: {{tier: qa, dsn: 'env:B', migrations: {{scripts: a, tried_on: [one]}}}}
"""
    with pytest.raises(ConfigError) as caught:
        parse(text, SOURCE)
    found = {problem.path: problem.message for problem in caught.value.problems}
    assert said in found[f"environments.one.{path}"]


def test_a_migration_of_production_needs_two_people_and_never_less_than_its_class() -> None:
    found = [TIER_DEFAULTS[tier].consent.of(Risk.DANGEROUS, "migrate").value for tier in Tier]
    assert found == ["auto", "auto", "one_approval", "two_approvals"]
    assert TIER_DEFAULTS[Tier.PRODUCTION].consent.of(Risk.DANGEROUS, "stamp") is Consent.ONE_APPROVAL
    forbidden = ConsentPolicy(dangerous=Consent.FORBIDDEN, actions={"migrate": Consent.AUTO})
    assert forbidden.of(Risk.DANGEROUS, "migrate") is Consent.FORBIDDEN


def test_what_is_not_there_is_told_by_the_check(tmp_path: Path) -> None:
    text = f"""
environments:
  one: {{tier: qa, dsn: 'env:A', migrations: {{git: {{path: {tmp_path}/clone}}, directory: {tmp_path}/app}}}}
"""
    environment = parse(text, SOURCE).environments["one"]
    assert migration_findings(environment) == [f"{tmp_path}/clone is no git clone", f"{tmp_path}/app is no folder"]
    (tmp_path / "clone" / ".git").mkdir(parents=True)
    (tmp_path / "app").mkdir()
    assert migration_findings(environment) == []


def migration_findings(environment: Environment) -> list[str]:
    notes = Notes("one")
    check_environment_files(environment, notes)
    return [each.message for each in notes.findings if each.subject == "migrations"]
