"""Whether the daemon could serve as the configuration wants, and to whom."""

from __future__ import annotations

from daemon.actions.operators import Operators
from daemon.check._report import Notes
from daemon.config import Settings
from daemon.web.access.policy import read_policy
from fleet.errors import ConfigError


def check_access(settings: Settings, notes: Notes) -> None:
    """web.yml, its certificates, the roles, and whether strangers could read. Blocks."""
    try:
        policy = read_policy(settings)
    except ConfigError as error:
        notes.error("access", error.message, error.hint)
        return
    for name in settings.access.roles:
        if name not in settings.operators and name not in policy.web.basic_auth_users:
            notes.warning("access", f"roles: {name} is neither an operator nor a user of web.yml")
    readers = (
        "all who reach it"
        if policy.open_to_read(Operators(settings.operators, ""))
        else "whoever signs in, or has a token"
    )
    scheme = "https" if policy.tls is not None else "http"
    notes.ok("access", f"{scheme}://{settings.listen} is open to {readers}")
