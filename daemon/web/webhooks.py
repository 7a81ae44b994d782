"""Events in: alerts of Alertmanagers (webhook version 4), and signed webhooks of programs; both ask for actions.

A sender is an operator, and may what an operator may: as `access.roles` says for what is signed, too. It is answered
2xx once what it sent is dealt with, else it would come again for ever; 5xx only while the state database is away.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from secrets import token_hex
from typing import Any

import structlog
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from daemon.actions.ledger import clean
from daemon.actions.operators import Operators
from daemon.actions.port import ActionsPort, NotAllowedError
from daemon.actions.request import Request, Source
from daemon.alertmanager import SENT_BY
from daemon.web._actions_input import Ask, BadInputError, parse, read_raw
from daemon.web._actions_reply import Answers, answering
from daemon.web.access import Role
from daemon.web.access.access import Access
from daemon.web.access.errors import UnidentifiedError
from daemon.web.identity import Asker, Identity
from daemon.web.routes import Register, Route, registering
from daemon.webhooks import SignatureError, claimed, verify
from fleet.errors import ActionError, SecretError, StateError
from fleet.secrets import Secrets

log = structlog.get_logger()

MAX_BODY = 4 * 1024 * 1024
MOST_ALERTS = 1000  # of one webhook
_LONGEST_NAME, _LONGEST_VALUE, _LONGEST_REASON = 200, 1000, 2000


class _Sent(BaseModel):
    """What we read of it; Alertmanager may add to its version 4."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class SentAlert(_Sent):
    status: str
    labels: dict[str, str]
    annotations: dict[str, str] = Field(default_factory=dict)
    startsAt: str  # noqa: N815 - their name
    generatorURL: str = ""  # noqa: N815
    fingerprint: str = ""

    @property
    def identity(self) -> str:
        """Of this alert since it began, however long what tells it from others is."""
        said = json.dumps([self.fingerprint or sorted(self.labels.items()), self.startsAt])
        return hashlib.sha256(said.encode()).hexdigest()[:32]


class SentAlerts(_Sent):
    """The alerts are read one by one: a strange one must not keep the others out."""

    version: str = Field(max_length=20)
    alerts: list[Any]


def webhook_routes(
    port: ActionsPort,
    identity: Identity,
    access: Access,
    operators: Callable[[], Operators],
    secrets: Secrets,
    *,
    parameters: Callable[[str], Collection[str] | None],
    address: Callable[[], str],
    now: Callable[[], float],
    count: Callable[[str, str], None] = lambda _kind, _result: None,
) -> Register:
    """The routes /api/v1/webhooks/alertmanager and /api/v1/webhooks/from/NAME.

    `parameters` names those of an action (None: there is no such one), `address` is our own, `now` gives unix seconds,
    `count` is told what became of each event.
    """
    receiver = _Receiver(port, access, operators, secrets, parameters=parameters, address=address, now=now, count=count)

    async def alertmanager(request: web.Request) -> object:
        return await receiver.alerts(request, await identity.of(request))

    def posted(path: str, answers: Answers, role: Role, summary: str) -> Route:
        return Route("POST", f"/api/v1/webhooks/{path}", answering(answers), role, summary, forgeable=False)

    return registering(
        posted(
            "alertmanager", alertmanager, Role.OPERATOR, "Alerts that an Alertmanager sends (its webhook, version 4)"
        ),
        # its signature says who sends it
        posted("from/{name}", receiver.signed, Role.PUBLIC, "An event that asks for an action, signed by its operator"),
    )


class _Receiver:
    def __init__(
        self,
        port: ActionsPort,
        access: Access,
        operators: Callable[[], Operators],
        secrets: Secrets,
        *,
        parameters: Callable[[str], Collection[str] | None],
        address: Callable[[], str],
        now: Callable[[], float],
        count: Callable[[str, str], None],
    ) -> None:
        self._port = port
        self._access = access
        self._operators = operators
        self._secrets = secrets
        self._parameters = parameters
        self._address = address
        self._now = now
        self._count = count
        self._unknown = token_hex()  # a secret that nobody has

    async def alerts(self, request: web.Request, asker: Asker) -> object:
        """How many of the alerts asked for an action, and what became of the others."""
        sent = _read_alerts(await read_raw(request, MAX_BODY))
        results: Counter[str] = Counter()
        for number, alert in enumerate(sent.alerts):
            result = await self._dealt_with(alert, asker) if number < MOST_ALERTS else "too_many"
            self._count("alertmanager", result)
            results[result] += 1
        return dict(results)

    async def _dealt_with(self, written: object, asker: Asker) -> str:
        """What became of an alert. Raises StateError, and OSError: it is to come again."""
        try:
            return await self._one(SentAlert.model_validate(written), asker)
        except (StateError, OSError):
            raise
        except ActionError as error:
            log.warning("alert_refused", sender=asker.person, because=error.message)
        except ValidationError as error:
            log.warning("alert_refused", sender=asker.person, because=_first(error))
        except Exception:  # the boundary of one alert: the others must get through
            log.exception("alert_broke", sender=asker.person)
        return "refused"

    async def _one(self, alert: SentAlert, asker: Asker) -> str:
        labels = alert.labels
        known = self._parameters(labels.get("action", ""))
        if alert.annotations.get(SENT_BY) == "custode" or alert.generatorURL.startswith(f"{self._address()}/"):
            return "ours"  # it asked us already
        if alert.status != "firing":
            return "resolved"
        if known is None or not labels.get("environment"):
            return "no_action"
        given = {name: value for name, value in labels.items() if name in known}
        if any(len(value) > _LONGEST_VALUE for value in given.values()):
            raise ActionError(f"a parameter is longer than {_LONGEST_VALUE} characters")
        asked = Ask(
            action=labels["action"],
            environment=labels["environment"],
            parameters=given,
            reason=clean(alert.annotations.get("summary", ""))[:_LONGEST_REASON],
        )
        wanted = Request(
            environment=asked.environment,
            action=asked.action,
            key=f"alertmanager:{asker.person}:{alert.identity}",
            requested_by=f"alert {clean(labels.get('alertname', ''))[:_LONGEST_NAME]} of {asker.person}",
            at=self._now(),
            source=Source.ALERT,
            reason=asked.reason,
            parameters=asked.parameters,
            sender=asker.person,
        )
        return "asked" if (await self._port.submit(wanted)).new else "known"

    async def signed(self, request: web.Request) -> object:
        """A Submitted, as if the operator NAME had asked over HTTP. Sent again with its id, it is the same."""
        name = request.match_info["name"]
        message_id, body = await self._proven(request, name)
        if self._access.policy.role(name, self._operators()) < Role.OPERATOR:
            raise NotAllowedError(f"{name} has a role here that asks for nothing", hint="access.roles in custode.yml")
        asked = parse(body, Ask)
        wanted = Request(
            environment=asked.environment,
            action=asked.action,
            key=f"webhook:{name}:{message_id}",
            requested_by=name,
            at=self._now(),
            source=Source.PERSON,
            reason=asked.reason,
            parameters=asked.parameters,
        )
        made = await (self._port.preview(wanted) if asked.dry_run else self._port.submit(wanted))
        self._count("signed", "asked")
        return made

    async def _proven(self, request: web.Request, name: str) -> tuple[str, bytes]:
        """The id and the body of what this operator has signed. To all others, the same is said."""
        try:
            claimed(request.headers, self._now())
        except SignatureError as error:
            self._count("signed", "unsigned")
            raise UnidentifiedError(str(error)) from None
        body = await read_raw(request)
        secret = await self._secret(name)
        try:
            # the same work for a name that nobody has; what is right is taken, however many guess behind one address
            return verify(secret or self._unknown, request.headers, body, self._now()), body
        except SignatureError as error:
            self._count("signed", "unsigned")
            hint = "sign it with the webhook_secret of an operator, who is named in the address"
            raise self._access.failed(request, "credentials", str(error), hint) from None

    async def _secret(self, name: str) -> str | None:
        """None as well where it cannot be read: strangers are not told which it is."""
        try:
            return await self._operators().webhook_secret(name, self._secrets)
        except SecretError as error:
            log.error("webhook_secret_unreadable", operator=name, error=error.message)  # noqa: TRY400 - no trace
            return None


def _read_alerts(body: bytes) -> SentAlerts:
    try:
        written: Any = from_json(body, allow_inf_nan=False)
        sent = SentAlerts.model_validate(written)
    except (ValueError, ValidationError) as error:
        raise BadInputError(f"this is no webhook of Alertmanager: {_first(error)}") from None
    if sent.version != "4":
        raise BadInputError(f"only version 4 of Alertmanager's webhook is known, not {sent.version!r}")
    return sent


def _first(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return "no JSON"
    first: Mapping[str, Any] = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the body'}: {first['msg']}"
