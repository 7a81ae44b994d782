"""What the configuration does with secrets: checks them before use, and shows them nowhere."""

import json
import pickle
from pathlib import Path

import pytest

from daemon.config import ConfigError, Settings, parse
from daemon.config._dsn import masked

SOURCE = Path("/etc/custode/custode.yml")
PLANTED = "hunter2"


def settings(dsn: str, tier: str = "development", more: str = "") -> Settings:
    return parse(f"environments:\n  one:\n    tier: {tier}\n    dsn: {json.dumps(dsn)}\n{more}", SOURCE)


def fault(dsn: str, tier: str = "development") -> str:
    with pytest.raises(ConfigError) as raised:
        settings(dsn, tier)
    (problem,) = raised.value.problems
    assert problem.path == "environments.one.dsn"
    assert problem.line == 4
    assert PLANTED not in raised.value.message
    return f"{problem.message} ({problem.hint})"


@pytest.mark.parametrize(
    "dsn",
    [
        "env:DSN",
        "file:/run/secrets/dsn",
        "awssm:app/prod#url@AWSPREVIOUS",
        "vault:secret/app/prod#url",
        "postgresql://u@h/d",
        "postgres://u@h:5432/d",
        "postgresql+asyncpg://u:${env:PW}@h/d?ssl=require",
        "postgresql://u:${vault:secret/app#pw}@[::1]:5432/d",
        "postgresql://u:${awssm:a/b#c@AWSPREVIOUS}@h1:1,h2:2/d",
        "postgresql://${env:HOST}/d",
        "postgresql://u@h:${env:PORT}/d",
        "postgresql:///d?host=/run/postgresql&user=u",
        "postgresql://u@/d?host=%2Ftmp%2Fx",
        "postgresql://u:@h/d",
        "postgresql://u%40corp@h/d",
    ],
)
def test_urls_without_a_password_are_right_everywhere(dsn: str) -> None:
    assert settings(dsn, "production").environments["one"].dsn.raw == dsn


@pytest.mark.parametrize(
    "dsn",
    ["postgresql://u:hunter2@h/d", "postgresql:///d?user=u&password=hunter2", "postgresql://u:${env:A}hunter2@h/d"],
)
def test_a_plain_password_needs_a_policy_that_allows_it(dsn: str) -> None:
    assert settings(dsn, "development")
    for tier in ("qa", "preprod", "production"):
        said = fault(dsn, tier)
        assert "password in plain text" in said
        assert "${env:NAME}" in said
        assert "awssm:" in said
        assert "vault:" in said
    allowed = "    policy: {access: {literal_password: true}}\n"
    assert settings(dsn, "production", allowed)


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        ("evn:hunter2", "unknown scheme (did you mean env?"),
        ("postgresql://u:${evn:hunter2}@h/d", "unknown scheme (did you mean env?"),
        ("ENV:hunter2", "write env: in small letters"),
        ("file:///run/hunter2", "no // after it"),
        ("postgresql://u:${hunter2}@h/d", "no reference (write ${scheme:reference}"),
        ("postgresql://u:${ENV:hunter2}@h/d", "no reference"),
        ("postgresql://u:${env:}@h/d", "no reference"),
        ("postgresql://u:${env:hunter2@h/d", "no reference"),
        ("awssm:app/${env:STAGE}/hunter2", "a reference within a reference"),
        ("postgresql://u:env:hunter2@h/d", "looks like a reference"),
        ("mysql://u:hunter2@h/d", "is no database URL"),
        ("postgresql+psycopg2://u:hunter2@h/d", "is no database URL"),
        ("host=h password=hunter2", "is no database URL"),
        ("hunter2", "is no database URL"),
        ("postgresql://u:hunter2@x@h/d", "%40"),
        ("postgresql://u:hunter2/x@h/d", "percent-encode"),
        ("postgresql://u:1/hunter2@h/d", "percent-encode"),
        ("postgresql://u:hunter2#x@h/d", "percent-encode"),
        ("postgresql://u:1#hunter2@h/d", "percent-encode"),
        ("postgresql://u:1?hunter2@h/d", "percent-encode"),
        ("postgresql://u@h:hunter2/d", "percent-encode"),
        ("postgresql://u@[hunter2/d", "percent-encode"),
    ],
)
def test_what_is_wrong_with_a_url_is_told_without_quoting_it(dsn: str, said: str) -> None:
    assert said in fault(dsn)


def test_references_in_the_options_of_plugins_are_checked_too() -> None:
    # a store's path is no secret text: it may look as it likes
    assert parse(
        "environments: {qa: {tier: qa, dsn: 'env:X'}}\nstores: {a: {type: local, path: 'evn:x'}}", SOURCE
    ).stores


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:hunter2@h:1/d", "postgresql://u:***@h:1/d"),
        ("postgresql://u:${env:PW}@h/d", "postgresql://u:${env:PW}@h/d"),
        ("postgresql://u:x${env:PW}@h/d", "postgresql://u:***@h/d"),
        ("postgresql:///d?host=/tmp&password=hunter2", "postgresql:///d?host=/tmp&password=***"),
        (
            "postgresql://u@h/d?password=${file:/run/x}&ssl=require",
            "postgresql://u@h/d?password=${file:/run/x}&ssl=require",
        ),
        ("postgresql://h/d", "postgresql://h/d"),
        ("env:DSN", "env:DSN"),
        ("hunter2", "***"),
        ("postgresql://u:[hunter2@h/d", "***"),
    ],
)
def test_masking(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_no_secret_is_shown_anywhere() -> None:
    made = settings(f"postgresql://u:{PLANTED}@h/d?sslpassword={PLANTED}")
    one = made.environments["one"]
    for text in (
        repr(made),
        str(made),
        f"{made}",
        json.dumps(made.redacted()),
        repr(one),
        str(one),
        repr(one.dsn),
        f"{one.dsn}",
        repr(made.model_dump()),
        one.model_dump_json(),
        repr(dict(made.secrets())),
    ):
        assert PLANTED not in text
    assert made.redacted()["environments"]["one"]["dsn"] == "postgresql://u:***@h/d?sslpassword=***"
    assert made.holds_plain_secrets()
    assert not settings("postgresql://u:${env:PW}@h/d").holds_plain_secrets()


@pytest.mark.parametrize(
    "text",
    [
        f"environments: {{qa: {{tier: qa, dsn: [postgresql://u:{PLANTED}@h/d]}}}}",
        f"environments: {{qa: {{tier: qa, dsn: {{url: '{PLANTED}'}}}}}}",
        f"environments: {{qa: {{tier: qa, url: 'postgresql://u:{PLANTED}@h/d'}}}}",
        f"environments: {{qa: {{tier: qa, 'dsn:postgresql://u:{PLANTED}@h/d'}}}}",
        f"environments: {{qa: 'postgresql://u:{PLANTED}@h/d'}}",
        f"environments: {{qa: {{tier: 'postgresql://u:{PLANTED}@h/d', dsn: 'env:X'}}}}",
        f"environments: {{qa: {{tier: qa, dsn: 'postgresql://u:{PLANTED}@h/d', dsn: '{PLANTED}'}}}}",
        f"environments: {{qa: {{tier: qa, dsn: *{PLANTED}}}}}",
        f"environments: {{qa: {{tier: qa, dsn: 'postgresql://u:{PLANTED}@h/d'",
        f'environments:\n  qa:\n    dsn: "postgresql://u:{PLANTED}\\@h/d"\n',
        f"notifiers: {{jsonl: {{token: '{PLANTED}'}}}}",
        f"stores: {{a: {{type: local, path: /x, password: '{PLANTED}'}}}}",
        f"schema_reference: [{PLANTED}]",
        f"operators: {{anna: {{token: '{PLANTED}'}}}}",
        f"operators: {{anna: {{token: 'evn:{PLANTED}'}}}}",
        f"operators: {{anna: {{token: [{PLANTED}]}}}}",
        f"operators: {{anna: {{token: 'a${{env:X}}'}}, bob: {{token: '{PLANTED}'}}}}",
        f"listen: u:{PLANTED}@h:80",
        f"environments: {{qa: {{disks: {{node_exporter: {{url: 'http://u:{PLANTED}@h:9100/metrics'}}}}}}}}",
    ],
)
def test_no_secret_is_quoted_by_an_error_wherever_it_was_put(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(text, SOURCE)
    error = raised.value
    for said in (str(error), repr(error), repr(error.problems), error.message, repr(error.__cause__)):
        assert PLANTED not in said


@pytest.mark.parametrize(
    ("token", "said"),
    [
        (PLANTED, "holds a token in plain text"),
        ("postgresql://u:p@h/d", "holds a token in plain text"),
        ("evn:TOKEN", "unknown scheme"),
        ("ENV:TOKEN", "holds a token in plain text"),
        ("env:${file:x}", "a reference within a reference"),
    ],
)
def test_a_token_is_a_reference_to_a_source_that_is_there(token: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        settings("env:DSN", more=f"operators: {{anna: {{token: '{token}'}}}}\n")
    (problem,) = raised.value.problems
    assert problem.path == "operators.anna.token"
    assert said in f"{problem.message} ({problem.hint})"
    assert PLANTED not in raised.value.message


def test_a_token_is_among_the_secrets_and_shown_as_a_reference_only() -> None:
    made = settings(
        "env:DSN", more=f"operators: {{anna: {{token: 'env:TOKEN'}}, bob: {{token: '{PLANTED}${{env:TOKEN}}'}}}}\n"
    )
    assert [at for at, _ in made.secrets() if at[0] == "operators"] == [
        ("operators", "anna", "token"),
        ("operators", "bob", "token"),
    ]
    shown = made.redacted()
    assert [shown["operators"][name]["token"] for name in ("anna", "bob")] == ["env:TOKEN", "***"]
    assert shown["actions"]["approval_expires"] == "3d"
    assert PLANTED not in json.dumps(shown) + repr(made) + repr(made.operators) + repr(made.model_dump())
    assert not made.holds_plain_secrets()


def test_an_error_survives_pickling() -> None:
    with pytest.raises(ConfigError) as raised:
        parse("listen: x", SOURCE)
    copy = pickle.loads(pickle.dumps(raised.value))  # noqa: S301 - our own
    assert copy.problems == raised.value.problems
