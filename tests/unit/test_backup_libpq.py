"""Connection parameters for client programs, and secrets taken out of what they say."""

from __future__ import annotations

import time
from typing import Any

import pytest

from fleet.backups.libpq import client_environment
from fleet.backups.scrub import scrub
from fleet.environment import Environment
from fleet.policy import TIER_DEFAULTS, Tier
from fleet.secrets import Secrets, SecretText


async def variables(dsn: str, **fields: Any) -> dict[str, str]:
    environment = Environment(name="qa", dsn=SecretText(dsn), **{"tier": Tier.QA} | fields)
    return await client_environment(environment, Secrets(time.monotonic), "other")


async def test_the_child_is_told_by_variables_and_gets_nothing_else_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_TOKEN", "xoxb-1")
    monkeypatch.setenv("PGHOST", "elsewhere")
    monkeypatch.setenv("PROD_PASSWORD", "ge:heim")
    child = await variables("postgresql://u:${env:PROD_PASSWORD}@h:5433/app?application_name=x")
    assert child["PGPASSWORD"] == "ge:heim"
    assert (child["PGHOST"], child["PGPORT"], child["PGUSER"], child["PGDATABASE"]) == ("h", "5433", "u", "other")
    assert "SLACK_TOKEN" not in child
    assert "PROD_PASSWORD" not in child


async def test_tls_is_as_the_environment_says() -> None:
    files = {"mode": "verify-ca", "ca_file": "/ca.pem", "cert_file": "/c.pem", "key_file": "/k.pem"}
    child = await variables("postgresql://h/app?sslmode=disable", tls=files)
    assert child["PGSSLMODE"] == "verify-ca"
    assert (child["PGSSLROOTCERT"], child["PGSSLCERT"], child["PGSSLKEY"]) == ("/ca.pem", "/c.pem", "/k.pem")


@pytest.mark.parametrize(
    ("tier", "dsn", "mode"),
    [
        (Tier.QA, "postgresql://h/app", "prefer"),
        (Tier.QA, "postgresql+asyncpg://h/app?ssl=require", "require"),
        (Tier.QA, "postgresql://h/app?sslmode=verify-full", "verify-full"),
        (Tier.PRODUCTION, "postgresql://h/app?sslmode=disable", "require"),
        (Tier.PRODUCTION, "postgresql://h/app?sslmode=verify-full", "verify-full"),
    ],
)
async def test_tls_is_what_the_daemon_itself_uses(tier: Tier, dsn: str, mode: str) -> None:
    assert (await variables(dsn, tier=tier, policy=TIER_DEFAULTS[tier]))["PGSSLMODE"] == mode


async def test_verifying_without_a_named_authority_trusts_the_systems() -> None:
    child = await variables("postgresql://h/app", tls={"mode": "verify-full"})
    assert child["PGSSLROOTCERT"] == "system" or child["PGSSLROOTCERT"].endswith((".pem", ".crt"))
    child = await variables("postgresql://h/app?sslrootcert=/own.pem", tls={"mode": "verify-full"})
    assert child["PGSSLROOTCERT"] == "/own.pem"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("cannot open postgresql://u:ge@heim@h/db now", "cannot open postgresql://u:***@h/db now"),
        ("password=geheim host=h", "password=*** host=h"),
        ("PGPASSWORD='ge heim' x", "PGPASSWORD=*** x"),
        ('{"api_token": "geheim"}', '{"api_token": ***}'),
        ("the word p@ss and p%40ss", "the word *** and ***"),
        ('FATAL:  password authentication failed for user "u"', 'FATAL:  password authentication failed for user "u"'),
        ("https://h/path: no such bucket", "https://h/path: no such bucket"),
    ],
)
def test_secrets_are_masked_and_the_rest_is_kept(said: str, expected: str) -> None:
    assert scrub(said, ["p@ss", ""]) == expected
