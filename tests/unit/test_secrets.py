from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError
from structlog.testing import capture_logs

from fleet.connections import tls_mode
from fleet.environment import Environment
from fleet.errors import SecretError
from fleet.policy import TIER_DEFAULTS
from fleet.secrets import Secrets, SecretText
from fleet.secrets._resolver import CACHE_SECONDS


@pytest.mark.parametrize(
    ("raw", "references", "whole"),
    [
        ("env:DSN", [("env", "DSN")], True),
        ("vault:secret/app#key", [("vault", "secret/app#key")], True),
        (
            "awssm:arn:aws:secretsmanager:eu:1:secret:x#k@AWSPREVIOUS",
            [("awssm", "arn:aws:secretsmanager:eu:1:secret:x#k@AWSPREVIOUS")],
            True,
        ),
        ("postgresql://u@h/d", [], False),
        ("postgresql://u:${env:PW}@${env:HOST}/d", [("env", "PW"), ("env", "HOST")], False),
        ("Bearer ${env:TOKEN}", [("env", "TOKEN")], False),
        ("awssm:app/${env:STAGE}", [("env", "STAGE")], False),
        ("xoxb-1-2", [], False),
        ("Plain: text", [], False),
        ("evn:DSN", [("evn", "DSN")], True),
    ],
)
def test_references(raw: str, references: list[tuple[str, str]], whole: bool) -> None:
    assert SecretText(raw).references == references
    assert SecretText(raw).is_reference is whole


async def test_values_are_put_in_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A", "p@ss/ü:${env:B}")
    monkeypatch.setenv("B", "x=y")
    secrets = Secrets(lambda: 0.0)
    assert await secrets.fill(SecretText("env:A")) == "p@ss/ü:${env:B}"
    # percent-encoded in a URL only, and what a value holds is no reference
    assert await secrets.fill(SecretText("postgresql://u:${env:A}@h/${env:B}")) == (
        "postgresql://u:p%40ss%2F%C3%BC%3A%24%7Benv%3AB%7D@h/x%3Dy"
    )
    assert await secrets.fill(SecretText("Bearer ${env:A} ${env:B}")) == "Bearer p@ss/ü:${env:B} x=y"
    assert await secrets.fill(SecretText("plain")) == "plain"
    with pytest.raises(SecretError, match="'evn'") as raised:
        await secrets.fill(SecretText("evn:A"))
    assert "awssm, env, file, vault" in str(raised.value.hint)


async def test_a_rotated_secret_is_read_again_and_an_outage_keeps_the_last(tmp_path: Path) -> None:
    file = tmp_path / "password"
    text = SecretText(f"file:{file}")
    now = 0.0
    secrets = Secrets(lambda: now)
    file.write_text("first\n")
    assert await secrets.fill(text) == "first"
    file.write_text("second\r\n")
    assert await secrets.fill(text) == "first"
    secrets.forget(text)
    assert await secrets.fill(text) == "second"
    file.write_text("third")
    now = CACHE_SECONDS
    assert await secrets.fill(text) == "third"
    file.unlink()
    now = 3 * CACHE_SECONDS
    assert await secrets.fill(text) == "third"
    with pytest.raises(SecretError, match="cannot be read"):
        await Secrets(lambda: 0.0).fill(text)


async def test_a_source_that_is_away_is_asked_and_logged_seldom(tmp_path: Path) -> None:
    file, hidden = tmp_path / "password", tmp_path / "hidden"
    text = SecretText(f"file:{file}")
    now = 0.0
    secrets = Secrets(lambda: now)

    async def filled_at(moment: float) -> str:
        nonlocal now
        now = moment
        return await secrets.fill(text)

    file.write_text("first")
    assert await filled_at(0.0) == "first"
    with capture_logs() as logs:
        file.rename(hidden)
        for moment in (300.0, 301.0, 330.0, 360.0):
            assert await filled_at(moment) == "first"
        hidden.rename(file)
        file.write_text("second")
        assert await filled_at(389.0) == "first"
        assert await filled_at(390.0) == "second"
        assert await filled_at(689.0) == "second"
        file.rename(hidden)
        assert await filled_at(690.0) == "second"
        hidden.write_text("third")
        hidden.rename(file)
        secrets.forget(text)
        assert await filled_at(691.0) == "third", "it was refused: asked at once"
    assert [entry["event"] for entry in logs] == 2 * ["secret_source_failed_using_last_value"], "one for each outage"


async def test_local_sources_say_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOT_THERE", raising=False)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff")
    for raw, said in {
        "env:NOT_THERE": "NOT_THERE is not set",
        f"file:{tmp_path}/empty": "is empty",
        f"file:{tmp_path}/binary": "cannot be read",
        f"file:{tmp_path}": "cannot be read",
    }.items():
        with pytest.raises(SecretError, match=said):
            await Secrets(lambda: 0.0).fill(SecretText(raw))


def test_pydantic_takes_text_and_secret_text_and_shows_neither() -> None:
    adapter = TypeAdapter(SecretText)
    made = adapter.validate_python("hunter2")
    assert adapter.validate_python(made) == made
    assert adapter.dump_python(made) == "***"
    assert adapter.dump_json(made) == b'"***"'
    for wrong in ("", 3, None, ["hunter2"]):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)


@pytest.mark.parametrize(
    ("tier", "configured", "asked", "mode"),
    [
        ("qa", None, None, "prefer"),
        ("qa", None, "verify-full", "verify-full"),
        ("qa", None, "disable", "disable"),
        ("production", None, None, "require"),
        ("production", None, "prefer", "require"),
        ("production", None, "verify-ca", "verify-ca"),
        ("production", "disable", "require", "disable"),
    ],
)
def test_the_url_cannot_undercut_the_policy_but_the_configuration_can(
    tier: str, configured: str | None, asked: str | None, mode: str
) -> None:
    policy = next(policy for name, policy in TIER_DEFAULTS.items() if name == tier)
    values = {"name": "one", "tier": tier, "dsn": "env:X", "tls": {"mode": configured}, "policy": policy}
    dsn = "postgresql://h/d" + (f"?sslmode={asked}" if asked else "")
    assert tls_mode(Environment.model_validate(values), dsn) == mode


def test_an_unknown_tls_mode_is_refused() -> None:
    environment = Environment.model_validate({"name": "one", "tier": "qa", "dsn": "env:X"})
    with pytest.raises(ValueError, match="not in tuple"):
        tls_mode(environment, "postgresql://h/d?sslmode=on")
