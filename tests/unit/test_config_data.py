"""Decisions on data in the configuration: merged onto the guide's, wrong ones told of with their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.config import ConfigError, Problem, parse
from fleet.policy import DataPolicy

SOURCE = Path("/etc/custode/custode.yml")
QA = "environments: {qa: {tier: qa, dsn: 'env:QA'}}\n"


def data(policy: str) -> DataPolicy:
    return parse(f"{QA}tiers: {{qa: {{data: {policy}}}}}\n", SOURCE).environments["qa"].policy.data


def problem(policy: str) -> Problem:
    with pytest.raises(ConfigError) as raised:
        data(policy)
    (found,) = raised.value.problems
    return found


def test_decisions_are_laid_over_the_guides_column_by_column() -> None:
    found = data("{columns: {users: {email: 'mask:hash', born:, tags: keep}, letters: empty}}").columns
    assert found["letters"].empty
    assert found["users"].written()["email"] == "mask:hash"
    assert found["users"].written()["born"] == "null"
    assert found["users"].written()["full_name"] == "mask:name"
    assert found["knowledge_items"].written()["title"] == "keep"


def test_an_environment_differs_from_its_tier() -> None:
    text = """
tiers: {qa: {data: {columns: {users: empty, notes: {body: 'mask:text'}}, mask_key: 'env:KEY'}}}
environments:
  qa: {tier: qa, dsn: 'env:QA', policy: {data: {columns: {notes: {body: keep}}, email_domain: qa.acme.it}}}
"""
    found = parse(text, SOURCE).environments["qa"].policy.data
    assert found.columns["users"].empty
    assert found.columns["notes"].written() == {"body": "keep"}
    assert found.decisions.domain("qa") == "qa.acme.it"
    assert found.mask_key is not None


@pytest.mark.parametrize(
    ("policy", "at", "message"),
    [
        ("{columns: {users: keep}}", "tiers.qa.data.columns.users", "is kept column by column"),
        ("{columns: {notes: {body: 'mask:txt'}}}", "tiers.qa.data.columns.notes", "body: there is no such mask"),
        ("{columns: {notes: {}}}", "tiers.qa.data.columns.notes", "say what becomes of each column"),
        ("{columns: {a.b.c: empty}}", "tiers.qa.data.columns.a.b.c", "is no table"),
        ("{mask_key: abcdefghijklmnopqrstuvwxyz012345}", "tiers.qa.data.mask_key", "holds a key in plain text"),
        ("{mask_key: 'nowhere:KEY'}", "tiers.qa.data.mask_key", "unknown scheme"),
        ("{email_domain: '@acme.it'}", "tiers.qa.data.email_domain", ""),
    ],
)
def test_what_is_wrong_is_told_with_its_place(policy: str, at: str, message: str) -> None:
    found = problem(policy)
    assert found.path.startswith(at)
    assert message in found.message


def test_a_key_in_plain_text_is_not_repeated() -> None:
    assert "abcdefghijklmnop" not in str(problem("{mask_key: abcdefghijklmnopqrstuvwxyz012345}"))


def test_decisions_are_displayed_as_they_are_written() -> None:
    settings = parse(f"{QA}tiers: {{qa: {{data: {{columns: {{users: empty}}, mask_key: 'env:KEY'}}}}}}\n", SOURCE)
    shown = settings.redacted()["environments"]["qa"]["policy"]["data"]
    assert shown["columns"]["users"] == "empty"
    assert shown["columns"]["alembic_version"] == {"version_num": "keep"}
    assert shown["mask_key"] == "env:KEY"
    assert not settings.holds_plain_secrets()


def test_production_takes_no_copies() -> None:
    text = "tiers: {production: {data: {columns: {users: empty}}}}\n" + QA
    with pytest.raises(ConfigError, match="nothing is ever copied into production"):
        parse(text, SOURCE)
    text = "environments: {p: {tier: production, dsn: 'env:P', policy: {data: {columns: {users: empty}}}}}\n"
    with pytest.raises(ConfigError, match="nothing is ever copied into production"):
        parse(text, SOURCE)
