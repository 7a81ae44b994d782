"""Who may ask, approve and stop; and who it is that asks."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping

from daemon.config import OperatorSettings, Verb
from fleet.errors import SecretError
from fleet.policy import Risk
from fleet.secrets import Secrets

_ROOT = "root"
_DOING: Mapping[Verb, str] = {
    "request": "ask for actions",
    "approve": "approve or reject actions",
    "stop": "stop and start all actions",
}


class Operators:
    """Where none is configured, `account`, which runs the daemon, and root may do everything from its machine.

    These two are one operator then, called like the account: nobody could tell two people from one with two accounts.
    """

    def __init__(self, configured: Mapping[str, OperatorSettings], account: str) -> None:
        self._account = account
        self._configured = configured
        self._accounts = {operator.local_user or name: name for name, operator in configured.items()}
        if not configured:
            self._accounts = {account: account, _ROOT: account}

    @property
    def configured(self) -> Mapping[str, OperatorSettings]:
        return self._configured

    def by_local_user(self, account: str) -> str | None:
        """The operator to whom an account on the daemon's machine belongs, None where it is nobody's."""
        return self._accounts.get(account)

    async def by_digest(self, digest: bytes, secrets: Secrets) -> str | None:
        """The operator to whom the bearer token with this SHA-256 belongs. None: it is nobody's, or more than one's.

        Raises:
            SecretError: nobody's whose token can be read, and some cannot: whose it is is unknown.
        """
        found, unreadable = [], None
        for name, operator in self._configured.items():  # all of them, so that the time tells nothing
            if operator.token is None:
                continue
            try:
                expected = await secrets.fill(operator.token)
            except SecretError as error:
                unreadable = SecretError(f"the token of the operator {name}: {error.message}", hint=error.hint)
                continue
            written = expected.encode("utf-8", "surrogateescape")
            if expected and hmac.compare_digest(digest, hashlib.sha256(written).digest()):
                found.append(name)
        if not found and unreadable is not None:
            raise unreadable
        return found[0] if len(found) == 1 else None

    async def webhook_secret(self, name: str, secrets: Secrets) -> str | None:
        """What the operator of this name signs webhooks with; None: nothing, or there is none. Raises SecretError."""
        operator = self._configured.get(name)
        if operator is None or operator.webhook_secret is None:
            return None
        return await secrets.fill(operator.webhook_secret) or None

    @property
    def have_tokens(self) -> bool:
        """Whether anybody has a token."""
        return any(operator.token is not None for operator in self._configured.values())

    @property
    def token_hint(self) -> str:
        """What a person whom `by_digest` does not know can do."""
        if self.have_tokens:
            return "send Authorization: Bearer TOKEN, with the token of an operator"
        return "no operator has a token: write operators: {NAME: {token: env:VARIABLE}} in custode.yml"

    def refusal(
        self, person: str, verb: Verb, environment: str | None, action: str | None, risk: Risk | None = None
    ) -> str | None:
        """Why this person may not; None: may. What is None, is all of them, or is not known."""
        refusal = self.refusal_for(person, verb, environment)
        operator = self._configured.get(person)
        if refusal is not None or operator is None:
            return refusal
        bounds = _outside(operator.actions, action, "actions", "all of them")
        bounds = bounds or _outside(operator.risks, risk, "risks", "whatever it is")
        return f"{person} may {_DOING[verb]}{bounds}" if bounds else None

    def refusal_for(self, person: str, verb: Verb, environment: str | None) -> str | None:
        """The same where no action is concerned, as for silences."""
        if not self._configured:
            return None if person == self._account else self._nobody(person)
        operator = self._configured.get(person)
        if operator is None:
            return self._nobody(person)
        if verb not in operator.may:
            may = ", only " + " and ".join(_DOING[each] for each in operator.may) if operator.may else ""
            return f"{person} may not {_DOING[verb]}{may} (operators.{person}.may)"
        bounds = _outside(operator.environments, environment, "environments", "the whole fleet")
        return f"{person} may {_DOING[verb]}{bounds}" if bounds else None

    def _nobody(self, person: str) -> str:
        if self._configured:
            return f"{person} is no operator; known are: {', '.join(self._configured)} (operators in custode.yml)"
        return (
            f"{person} is no operator: none is configured, so only {self._account} and root may act, from the daemon's "
            f"machine; name people in operators in custode.yml"
        )


def _outside(allowed: Collection[str] | None, asked: str | None, key: str, whole: str) -> str:
    """What an operator is bound to, where that does not cover what is asked."""
    if allowed is None or asked in allowed:
        return ""
    return f", but only for the {key} {', '.join(allowed) or 'none'}, not for {asked or whole}"
