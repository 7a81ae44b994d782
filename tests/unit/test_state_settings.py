"""`state:` in the configuration, and what is told of the revisions without asking a database."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

from daemon.config import ConfigError, Settings, StateSettings, parse
from daemon.state import Revision
from daemon.state._sessions import plain, says_away
from fleet.errors import DaemonError, StateError
from fleet.secrets import SecretText
from migrations.state import HEAD, REVISIONS

ONE = "environments: {qa: {tier: qa, dsn: 'env:QA'}}\n"
PLANTED = "hunter2"


def settings(url: str | None) -> Settings:
    return parse(ONE + ("" if url is None else f"state: {{url: '{url}'}}\n"), Path("/etc/custode/custode.yml"))


def test_without_a_url_it_is_embedded() -> None:
    assert settings(None).state == StateSettings(url=None)
    assert settings(None).redacted()["state"] == {"url": None}


@pytest.mark.parametrize("url", ["env:STATE", "postgresql://u:${env:PW}@h/d", "postgresql+asyncpg://u@h/d"])
def test_a_url_is_shown_by_its_references(url: str) -> None:
    made = settings(url)
    assert made.state.url == SecretText(url)
    assert (("state", "url"), SecretText(url)) in list(made.secrets())
    assert made.redacted()["state"]["url"] == url
    assert not made.holds_plain_secrets()


def test_a_password_in_it_is_never_shown() -> None:
    made = settings(f"postgresql://u:{PLANTED}@h/d")
    for text in (repr(made), json.dumps(made.redacted()), repr(made.model_dump()), repr(dict(made.secrets()))):
        assert PLANTED not in text
    assert made.redacted()["state"]["url"] == "postgresql://u:***@h/d"
    assert made.holds_plain_secrets()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://h/d", "is no database URL"),
        ("postgresql://u:p@ss@h/d", "is no valid URL"),
        ("evn:STATE", "unknown scheme"),
        ("postgresql://u:${env:}@h/d", "that is no reference"),
        (f"{PLANTED}", "is no database URL"),
    ],
)
def test_a_wrong_url_is_told_with_its_place(url: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        settings(url)
    (problem,) = raised.value.problems
    assert problem.path == "state.url"
    assert message in problem.message
    assert PLANTED not in str(raised.value)


def test_it_cannot_change_while_the_daemon_runs() -> None:
    from daemon.app import _refuse_what_needs_a_restart

    _refuse_what_needs_a_restart(settings("env:A"), settings("env:A"))
    with pytest.raises(DaemonError, match=r"^state cannot change"):
        _refuse_what_needs_a_restart(settings("env:A"), settings("env:B"))


def test_the_revisions_are_those_of_the_files() -> None:
    config = Config()
    config.set_main_option("script_location", str(resources.files("migrations") / "state"))
    scripts = ScriptDirectory.from_config(config)
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == REVISIONS
    assert scripts.get_current_head() == HEAD


def test_what_a_revision_means() -> None:
    assert Revision(HEAD).up_to_date
    assert not Revision(None).up_to_date
    assert not Revision(None).newer
    Revision(None).refuse_newer()
    with pytest.raises(StateError, match="revision 9999") as refused:
        Revision("9999").refuse_newer()
    assert refused.value.hint


class ToldError(Exception):
    sqlstate = "57P01"


def test_an_error_is_told_without_statement_and_values() -> None:
    error = DBAPIError("select $1", {"secret": PLANTED}, ToldError("terminating connection"))
    assert plain(error) == "terminating connection"
    assert says_away(error)
    assert says_away(ToldError())
    assert not says_away(ValueError())
