import re
from collections.abc import Callable
from datetime import time, timedelta
from importlib import resources
from pathlib import Path

import pytest

from daemon.config import ConfigError, Limits, Listen, OperatorSettings, Problem, Settings, load, parse
from fleet.environment import Environment
from fleet.policy import TIER_DEFAULTS, Consent, Tier
from fleet.secrets import SecretText

SOURCE = Path("/etc/custode/custode.yml")
ONE = "environments: {qa: {tier: qa, dsn: 'env:QA'}}\n"


def problems(text: str) -> list[Problem]:
    with pytest.raises(ConfigError) as raised:
        parse(text, SOURCE)
    return list(raised.value.problems)


def only(text: str) -> Problem:
    found = problems(text)
    assert len(found) == 1, found
    return found[0]


def environment(fields: str, tier: str = "development") -> str:
    return f"environments:\n  one:\n    tier: {tier}\n    dsn: env:ONE\n    {fields}\n"


def test_the_smallest_configuration() -> None:
    settings = parse(ONE, SOURCE)
    assert settings.listen == Listen("127.0.0.1", 9188)
    assert settings.environments["qa"].policy == TIER_DEFAULTS[Tier.QA]
    assert settings.stores["local"].type == "local"
    assert settings.stores["local"].options.model_dump()["path"] == settings.data_dir / "backups"
    assert list(settings.notifiers) == ["console"]
    assert settings.rules.shipped
    assert settings.collectors["indexes"].enabled
    assert settings.schema_reference is None


def test_operators_and_limits() -> None:
    assert parse(ONE, SOURCE).operators == {}
    assert parse(ONE, SOURCE).actions == Limits()
    text = """
actions: {per_hour: 5, breaker_retry: null, at_once: 16}
operators:
  anna:
  bob@example.org: {local_user: bob, token: 'env:BOB', environments: [qa], actions: [backup], may: [approve]}
"""
    settings = parse(ONE + text, SOURCE)
    assert settings.actions == Limits(per_hour=5, breaker_retry=None, at_once=16)
    anna, bob = settings.operators.values()
    assert anna == OperatorSettings()
    assert anna.may == ("request", "approve", "stop")
    assert bob.token == SecretText("env:BOB")
    assert (bob.local_user, bob.environments, bob.actions, bob.may) == ("bob", ("qa",), ("backup",), ("approve",))


def test_the_example_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    with resources.as_file(resources.files("daemon.config") / "example.yml") as path:
        settings = load(path)
    assert [e.tier for e in settings.environments.values()] == list(Tier)
    window = settings.environments["production"].policy.window
    assert window is not None
    assert (window.start, window.timezone) == (time(2), "Europe/Rome")


def test_policies_are_merged_from_default_to_tier_to_environment() -> None:
    text = """
tiers:
  production:
    backup: {interval: 30m}
    data: {row_retention: [{table: logs, keep: 7d}]}
environments:
  first: {tier: production, dsn: env:A}
  second:
    tier: production
    dsn: env:B
    policy:
      backup: {retention: {hourly: 2d}, recovery_time: null}
      consent: {guarded: auto}
      window: {start: 22:30}
"""
    settings = parse(text, SOURCE)
    first, second = (settings.environments[name].policy for name in ("first", "second"))
    assert first.backup.interval == second.backup.interval == timedelta(minutes=30)
    assert [rule.table for rule in second.data.row_retention] == ["logs"]
    assert (first.backup.retention.hourly, second.backup.retention.hourly) == (timedelta(days=1), timedelta(days=2))
    assert second.backup.retention.daily == timedelta(days=30)
    assert (first.backup.recovery_time, second.backup.recovery_time) == (timedelta(minutes=15), None)
    assert (first.consent.guarded, second.consent.guarded) == (Consent.ONE_APPROVAL, Consent.AUTO)
    assert second.window is not None
    assert (second.window.start, second.window.days) == (time(22, 30), ("sun",))


def test_all_problems_are_told_at_once_each_at_its_line_with_a_hint() -> None:
    text = """\
listne: 1.2.3.4:1
tiers:
  prod: {}
  qa:
    backup: {intervall: 1d}
environments:
  qa:
    tier: qaa
    dsn: env:QA
    labels: {shard: 1}
  production:
    dsn: env:PROD
    dsn: env:OTHER
    policy:
      backup: {interval: 90}
      window: {days: [sun, mo]}
collectors:
  indices: {}
  indexes: {interval: 10ms, tmeout: 3s}
stores:
  vault: {type: locl, path: /srv}
  other: {path: /srv}
notifiers: {consle: {}}
schema_reference: prod
"""
    found = [(p.line, p.path, p.hint or p.message) for p in problems(text)]
    expected = [
        (1, "listne", "did you mean listen?"),
        (3, "tiers.prod", "did you mean preprod?"),
        (5, "tiers.qa.backup.intervall", "did you mean interval?"),
        (8, "environments.qa.tier", "did you mean qa?"),
        (10, "environments.qa.labels.shard", "put it in quotes"),
        (11, "environments.production.tier", "is missing"),
        (13, "environments.production.dsn", "is written twice, first in line 12"),
        (15, "environments.production.policy.backup.interval", "90 is not a duration"),
        (16, "environments.production.policy.window.days[1]", "did you mean mon?"),
        (18, "collectors.indices", "did you mean indexes?"),
        (19, "collectors.indexes.tmeout", "did you mean timeout?"),
        (21, "stores.vault.type", "did you mean local?"),
        (22, "stores.other.type", "known are: local"),
        (23, "notifiers.consle", "did you mean console?"),
        (24, "schema_reference", "known are: qa, production"),
    ]
    assert [entry[:2] for entry in found] == [entry[:2] for entry in expected]
    for (_, _, hint), (_, _, beginning) in zip(found, expected, strict=True):
        assert beginning in hint


def test_the_message_can_be_jumped_to() -> None:
    with pytest.raises(ConfigError) as raised:
        parse(ONE + "listen: here\n", SOURCE)
    assert raised.value.message == (
        "/etc/custode/custode.yml:2: listen: is no address; write it like 127.0.0.1:9188 or [::1]:9188"
    )


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        ("", "environments", "nothing to guard"),
        ("environments: {}", "environments", "nothing to guard"),
        ("- a\n- b", "", "must be a mapping"),
        ("environments: []", "environments", "must be a mapping"),
        (ONE + "tiers: [qa]", "tiers", "must be a mapping"),
        (ONE + "rules: []", "rules", "must be a mapping"),
        (ONE + "rules: {files: x.yml}", "rules.files", "must be a list"),
        (ONE + "rules: {interval: 0s}", "rules.interval", "at least 1s"),
        (ONE + "collectors: {indexes: {timeout: 0s}}", "collectors.indexes.timeout", "at least 1s"),
        (ONE + "data_dir: [x]", "data_dir", "path"),
        (ONE + "log: {level: verbose}", "log.level", "possible values"),
        (ONE + "actions: {at_once: 17}", "actions.at_once", "less than or equal to 16"),
        (ONE + "actions: {approval_expires: 0s}", "actions.approval_expires", "greater than 0"),
        (ONE + "actions: {breaker_retry: soon}", "actions.breaker_retry", "is not a duration"),
        (ONE + "operators: [anna]", "operators", "must be a mapping"),
        (ONE + "operators: {anna: {may: [aprove]}}", "operators.anna.may[0]", "possible values"),
        (ONE + "operators: {anna: {environments: [aq]}}", "operators.anna.environments[0]", "no such environment"),
        (ONE + "operators: {anna: {actions: [bakcup]}}", "operators.anna.actions[0]", "no such action"),
        (ONE + "operators: {anna: {}, bob: {local_user: anna}}", "operators", "anna and bob have the same local_user"),
        (ONE + "operators: {a: {token: 'env:T'}, b: {token: 'env:T'}}", "operators", "a and b have the same token"),
        (
            ONE + "operators: {a: {webhook_secret: 'env:T'}, b: {webhook_secret: 'env:T'}}",
            "operators",
            "a and b have the same webhook_secret",
        ),
        (ONE + "operators: {'alert x': {}}", "operators", "is no name of an operator"),
        (ONE + "operators: {'': {}}", "operators", "is no name of an operator"),
        ("environments: {qa: }", "environments.qa.dsn", "is missing"),
        (environment("name: two"), "environments.one.name", "is not known here"),
        (environment("schema_reference: true"), "environments.one.schema_reference", "is not known here"),
        (
            environment("policy: {data: {row_retention: [{table: a, keep: 1d}, {table: public.a, keep: 2d}]}}"),
            "environments.one.policy.data.row_retention",
            "more than one rule for public.a",
        ),
        (environment("policy: 3"), "environments.one.policy", "must be a mapping"),
        (
            environment("policy: {backup: {copies: {offsite: {}}}}"),
            "environments.one.policy.backup.copies.offsite",
            "no such store",
        ),
        (
            environment("policy: {backup: {restore_tests_on: two}}"),
            "environments.one.policy.backup.restore_tests_on",
            "no such environment",
        ),
        (
            "environments: {live: {tier: production, dsn: 'env:L', policy: {backup: {restore_tests_on: live}}}}",
            "environments.live.policy.backup.restore_tests_on",
            "never tested on a production server",
        ),
        (ONE + "stores: {files: {type: local, path: /srv}}", "stores.files", "cannot be the name of a store"),
        (environment("policy: {backup: null}"), "environments.one.policy.backup", "must be a mapping"),
        (environment("labels: {environment: x}"), "environments.one.labels", "taken"),
        (environment("databases: app"), "environments.one.databases", "must be a list"),
        (environment("disks: {statvf: {}}"), "environments.one.disks.statvf", "no such disk source"),
        (environment("disks: {statvfs: {pth: /}}"), "environments.one.disks.statvfs.pth", "not known here"),
        (
            environment("disks: {node_exporter: {url: 'http://u:p@h/metrics'}}"),
            "environments.one.disks.node_exporter.url",
            "no user and password",
        ),
        (environment("tls: {mode: required}"), "environments.one.tls.mode", "possible values"),
        ("environments: {One: {tier: qa, dsn: 'env:X'}}", "environments.One", "is no name"),
    ],
)
def test_bad_input(text: str, path: str, said: str) -> None:
    found = {problem.path: problem.message for problem in problems(text)}
    assert said in found[path]


@pytest.mark.parametrize(
    ("text", "listen"),
    [("0.0.0.0:80", "0.0.0.0:80"), ("'[::1]:0'", "[::1]:0"), ("localhost:9188", "localhost:9188")],
)
def test_listen(text: str, listen: str) -> None:
    assert str(parse(f"{ONE}listen: {text}", SOURCE).listen) == listen


@pytest.mark.parametrize("text", ["9188", "':9188'", "h:99999", "::1:80", "http://h:80", "h"])
def test_listen_refuses(text: str) -> None:
    assert only(f"{ONE}listen: {text}").path == "listen"


def test_the_only_production_sets_the_schema_and_of_two_none() -> None:
    two = "environments: {a: {tier: production, dsn: 'env:A'}, b: {tier: BTIER, dsn: 'env:B'}}\n"
    for tier, key, reference in (
        ("qa", "", "a"),
        ("qa", "schema_reference: b", "b"),
        ("production", "", None),
        ("production", "schema_reference: b", "b"),
    ):
        settings = parse(two.replace("BTIER", tier) + key, SOURCE)
        assert settings.schema_reference == reference
        assert {name: each.schema_reference for name, each in settings.environments.items()} == {
            "a": reference == "a",
            "b": reference == "b",
        }


def test_an_environment_does_not_make_itself_the_reference() -> None:
    problem = only(environment("schema_reference: [x]"))
    assert problem.hint == "name this environment in schema_reference at the top level"
    assert "schema_reference" not in str(only(environment("schema_referense: 1")).hint)


def test_paths_begin_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    folder = tmp_path / "with [brackets]"
    (folder / "rules").mkdir(parents=True)
    (folder / "rules" / "own.yml").touch()
    (folder / "rules" / "folder.yml").mkdir()
    file = folder / "custode.yml"
    file.write_text(
        "data_dir: data\nclient_tools: ~/bin\nrules: {files: [rules/*.yml, /nowhere/*.yml]}\n"
        "stores: {local: {type: local, path: backups}}\n"
        + environment("tls: {ca_file: ca.pem}\n    migrations: {scripts: ../v}\n    disks: {statvfs: {path: d}}")
    )
    settings = load(file)
    one = settings.environments["one"]
    assert settings.data_dir == folder / "data"
    assert settings.client_tools == Path("/home/anna/bin")
    assert settings.stores["local"].options.model_dump()["path"] == folder / "backups"
    assert (one.tls.ca_file, one.migrations.scripts) == (folder / "ca.pem", folder / "../v")
    assert one.disks["statvfs"]["path"] == folder / "d"
    assert [*settings.rules.paths().values()] == [[folder / "rules" / "own.yml"], []]


def test_the_data_dir_of_the_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTODE_DATA_DIR", "/srv/custode")
    assert parse(ONE, SOURCE).data_dir == Path("/srv/custode")
    assert parse(ONE + "data_dir: /var/x", SOURCE).data_dir == Path("/var/x")


def _missing(path: Path) -> None:
    path.unlink(missing_ok=True)


def _folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("arrange", "said"),
    [
        (_missing, r"there is no such file \(custode demo"),
        (_folder, "cannot be read: Is a directory"),
        (lambda path: path.write_bytes(b"a: 1\nb: \xff\n"), ":2: is not UTF-8"),
        (lambda path: path.write_text("# padding\n" * 1_000_000), "is larger than 512 KiB"),
        (lambda path: path.write_text("environments:\n\tqa: 1"), ":2: broken YAML"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, arrange: Callable[[Path], object], said: str) -> None:
    path = tmp_path / "custode.yml"
    arrange(path)
    with pytest.raises(ConfigError, match=said):
        load(path)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "custode.yml"
    path.write_text("\ufeff" + ONE, encoding="utf-8")
    assert list(load(path).environments) == ["qa"]


def test_nothing_unchecked_can_be_passed_around() -> None:
    settings = parse(ONE, SOURCE)
    values = {name: getattr(settings, name) for name in Settings.model_fields}
    with pytest.raises(TypeError, match=re.escape("daemon.config.load")):
        Settings(**values)
    with pytest.raises(TypeError, match=re.escape("daemon.config.load")):
        Settings.model_validate(values)
    with pytest.raises(ValueError, match="frozen"):
        setattr(settings, "data_dir", Path("/"))  # noqa: B010 - mypy refuses the assignment itself
    assert isinstance(settings.environments["qa"], Environment)
