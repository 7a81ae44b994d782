"""Operators as a table: who may what, and who it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from daemon.actions.operators import Operators
from daemon.config import OperatorSettings, Verb
from daemon.web.access.tokens import digest_of
from fleet.errors import SecretError
from fleet.policy import Risk
from fleet.secrets import Secrets

NOBODY = Operators({}, "custode")


def operators(**configured: Mapping[str, Any]) -> Operators:
    return Operators({name: OperatorSettings.model_validate(data) for name, data in configured.items()}, "custode")


TEAM = operators(
    anna={},
    bob={"environments": ["qa", "dev"], "local_user": "robert"},
    carl={"actions": ["backup"], "may": ["request"]},
    dora={"may": ["approve"], "environments": []},
    eve={"may": []},
)


@pytest.mark.parametrize(
    ("person", "verb", "environment", "action", "said"),
    [
        ("anna", "request", "qa", "vacuum", None),
        ("anna", "approve", "production", "vacuum", None),
        ("anna", "stop", None, None, None),
        ("bob", "request", "qa", "vacuum", None),
        ("bob", "approve", "dev", "backup", None),
        ("bob", "request", "production", "vacuum",
         "bob may ask for actions, but only for the environments qa, dev, not for production"),
        ("bob", "approve", "production", "vacuum",
         "bob may approve or reject actions, but only for the environments qa, dev, not for production"),
        ("bob", "stop", None, None,
         "bob may stop and start all actions, but only for the environments qa, dev, not for the whole fleet"),
        ("carl", "request", "production", "backup", None),
        ("carl", "request", "qa", "vacuum",
         "carl may ask for actions, but only for the actions backup, not for vacuum"),
        ("carl", "approve", "qa", "backup",
         "carl may not approve or reject actions, only ask for actions (operators.carl.may)"),
        ("carl", "stop", None, None,
         "carl may not stop and start all actions, only ask for actions (operators.carl.may)"),
        ("dora", "approve", "qa", "backup",
         "dora may approve or reject actions, but only for the environments none, not for qa"),
        ("eve", "request", "qa", "backup", "eve may not ask for actions (operators.eve.may)"),
        ("mallory", "request", "qa", "backup",
         "mallory is no operator; known are: anna, bob, carl, dora, eve (operators in custode.yml)"),
        ("custode", "stop", None, None,
         "custode is no operator; known are: anna, bob, carl, dora, eve (operators in custode.yml)"),
        ("robert", "request", "qa", "backup",
         "robert is no operator; known are: anna, bob, carl, dora, eve (operators in custode.yml)"),
    ],
)  # fmt: skip
def test_who_may_what(person: str, verb: Verb, environment: str | None, action: str | None, said: str | None) -> None:
    assert TEAM.refusal(person, verb, environment, action) == said


def test_who_may_only_some_actions_may_not_stop_all() -> None:
    one = operators(carl={"actions": ["backup"]})
    assert one.refusal("carl", "stop", None, None) == (
        "carl may stop and start all actions, but only for the actions backup, not for all of them"
    )


@pytest.mark.parametrize(
    ("account", "expected"),
    [("anna", "anna"), ("robert", "bob"), ("bob", None), ("root", None), ("custode", None), ("", None)],
)
def test_accounts(account: str, expected: str | None) -> None:
    assert TEAM.by_local_user(account) == expected


@pytest.mark.parametrize(("account", "expected"), [("custode", "custode"), ("root", "custode"), ("anna", None)])
def test_where_nobody_is_configured_the_daemon_s_account_and_root_are_one_operator(
    account: str, expected: str | None
) -> None:
    assert NOBODY.by_local_user(account) == expected


def test_where_nobody_is_configured_that_operator_may_everything_and_others_are_told() -> None:
    verbs: list[Verb] = ["request", "approve", "stop"]
    assert [NOBODY.refusal("custode", verb, "production", "vacuum") for verb in verbs] == [None] * 3
    for person in ("anna", "root", ""):
        said = NOBODY.refusal(person, "request", "qa", "backup") or ""
        assert "none is configured, so only custode and root may act" in said
        assert "operators in custode.yml" in said


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Secrets:
    for name, value in {"ANNA": "s3cret", "BOB": "other", "TWIN": "twin", "TWIN_TOO": "twin"}.items():
        monkeypatch.setenv(f"TOKEN_{name}", value)
    return Secrets(lambda: 0.0)


def with_tokens(**tokens: str) -> Operators:
    return operators(**{name: {"token": f"env:TOKEN_{variable}"} for name, variable in tokens.items()}, carl={})


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("s3cret", "anna"),
        ("other", "bob"),
        ("s3cre", None),
        ("s3crets", None),
        ("S3CRET", None),
        ("", None),
        ("env:TOKEN_ANNA", None),
        ("carl", None),
        ("None", None),
        ("\udcff\u20ac", None),  # what aiohttp makes of bytes that are no text
    ],
)
async def test_tokens(token: str, expected: str | None, secrets: Secrets) -> None:
    assert await with_tokens(anna="ANNA", bob="BOB").by_digest(digest_of(token), secrets) == expected


async def test_a_token_of_two_is_nobody_s(secrets: Secrets) -> None:
    assert await with_tokens(anna="TWIN", bob="TWIN_TOO").by_digest(digest_of("twin"), secrets) is None


async def test_a_token_that_cannot_be_read_shuts_out_nobody_else(secrets: Secrets) -> None:
    some = with_tokens(anna="MISSING", bob="BOB")
    assert await some.by_digest(digest_of("other"), secrets) == "bob"
    with pytest.raises(SecretError, match=r"the token of the operator anna: .*TOKEN_MISSING is not set") as raised:
        await some.by_digest(digest_of("s3cret"), secrets)
    assert "s3cret" not in str(raised.value)


async def test_over_http_nobody_comes_in_without_a_token_of_an_operator(secrets: Secrets) -> None:
    for some in (NOBODY, TEAM):
        assert await some.by_digest(digest_of(""), secrets) is None
        assert await some.by_digest(digest_of("custode"), secrets) is None
        assert "no operator has a token: write operators:" in some.token_hint
    assert "Authorization: Bearer" in with_tokens(anna="ANNA").token_hint


@pytest.mark.parametrize(
    ("risk", "refused"), [(Risk.SAFE, False), (Risk.GUARDED, False), (Risk.DESTRUCTIVE, True), (None, True)]
)
def test_an_operator_may_be_bound_to_what_does_little_harm(risk: Risk | None, refused: bool) -> None:
    bound = operators(fay={"risks": ["read", "safe", "guarded"]})
    said = bound.refusal("fay", "approve", "qa", "vacuum", risk)
    assert (said is not None) is refused
    if said is not None:
        assert f"only for the risks read, safe, guarded, not for {risk or 'whatever it is'}" in said
    assert TEAM.refusal("anna", "approve", "qa", "vacuum", risk) is None
