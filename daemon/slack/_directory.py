"""Which operator a user of Slack is: by id, by user group, by the email address that Slack has confirmed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog

from daemon.config import OperatorSettings
from daemon.notifiers import Permanent, Retryable
from daemon.slack._api import SlackApi, SlackError

log = structlog.get_logger()

REMEMBERED_SECONDS = 600.0
Operators = Callable[[], Mapping[str, OperatorSettings]]


class UnknowableError(Exception):
    """Slack did not tell who it is."""


class Directory:
    """`operators` are asked each time, as the configuration may be read again; `now` is any clock in seconds."""

    def __init__(self, api: SlackApi, operators: Operators, now: Callable[[], float]) -> None:
        self._api = api
        self._operators = operators
        self._now = now
        self._answers: dict[tuple[str, str], tuple[float, Any]] = {}

    async def operator(self, user: str) -> str | None:
        """The operator that a user is; None where it is nobody, or could be more than one.

        Raises:
            UnknowableError: it may be one, and Slack does not say.
        """
        operators = self._operators()
        by_id = [name for name, each in operators.items() if user in each.slack]
        if by_id:
            return by_id[0] if len(by_id) == 1 else None
        found = [name for name, each in operators.items() if await self._is(user, each)]
        return found[0] if len(found) == 1 else None

    async def _is(self, user: str, operator: OperatorSettings) -> bool:
        for known in operator.slack:
            if "@" in known:
                email = await self._asked("email", user)
                if email is not None and known.casefold() == email:
                    return True
            elif known.startswith("S") and user in await self._asked("group", known):
                return True
        return False

    async def _asked(self, what: str, about: str) -> Any:
        at, answer = self._answers.get((what, about), (float("-inf"), None))
        if self._now() - at < REMEMBERED_SECONDS:
            return answer
        try:
            answer = await (self._email(about) if what == "email" else self._members(about))
        except (Retryable, Permanent) as error:
            log.warning("slack_user_unknowable", asked=what, about=about, error=str(error))
            raise UnknowableError(str(error)) from error
        if len(self._answers) > 1000:
            self._answers.clear()
        self._answers[what, about] = (self._now(), answer)
        return answer

    async def _email(self, user: str) -> str | None:
        """None for guests, robots, those who left, and for an address that nobody has confirmed."""
        try:
            found = (await self._api.call("users.info", user=user)).get("user") or {}
        except SlackError as error:
            if error.reason in {"user_not_found", "user_not_visible"}:
                return None
            raise
        odd = ("deleted", "is_bot", "is_restricted", "is_ultra_restricted", "is_stranger", "is_invited_user")
        if any(found.get(name) for name in odd) or found.get("is_email_confirmed") is False:
            return None
        email = (found.get("profile") or {}).get("email")
        return email.casefold() if isinstance(email, str) else None

    async def _members(self, group: str) -> frozenset[str]:
        found = await self._api.call("usergroups.users.list", usergroup=group)
        return frozenset(str(user) for user in found.get("users", ()))
