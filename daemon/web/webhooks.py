"""Events in: alerts of Alertmanagers (webhook version 4), and signed webhooks of programs; both ask for actions.

A sender is an operator, and may what an operator may. It is answered 2xx once what it sent is dealt with, else it would
come again for ever; 5xx only while the state database is away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any

import structlog
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import from_json

from daemon.actions.operators import Operators
from daemon.actions.port import ActionsPort
from daemon.actions.request import Request, Source
from daemon.alertmanager import SENT_BY
from daemon.web._actions_input import Ask, BadInputError, parse, read_raw
from daemon.web._actions_reply import Answers, answering
from daemon.web.access import Role
from daemon.web.identity import Asker, Identity, UnidentifiedError
from daemon.web.routes import Register, Route, registering
from daemon.webhooks import SignatureError, verify
from fleet.errors import ActionError, StateError
from fleet.secrets import Secrets

log = structlog.get_logger()

MAX_BODY = 4 * 1024 * 1024
MOST_ALERTS = 1000  # of one webhook

_Text = Annotated[str, StringConstraints(max_length=10_000)]


class _Sent(BaseModel):
    """What we read of it; Alertmanager may add to its version 4."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class SentAlert(_Sent):
    status: Annotated[str, StringConstraints(max_length=20)]
    labels: dict[_Text, _Text]
    annotations: dict[_Text, _Text] = Field(default_factory=dict)
    startsAt: Annotated[str, StringConstraints(max_length=40)]  # noqa: N815 - their name
    generatorURL: _Text = ""  # noqa: N815
    fingerprint: Annotated[str, StringConstraints(max_length=64)] = ""


class SentAlerts(_Sent):
    version: Annotated[str, StringConstraints(max_length=20)]
    alerts: list[SentAlert]


def webhook_routes(
    port: ActionsPort,
    identity: Identity,
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
    receiver = _Receiver(port, operators, secrets, parameters=parameters, address=address, now=now, count=count)

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
        operators: Callable[[], Operators],
        secrets: Secrets,
        *,
        parameters: Callable[[str], Collection[str] | None],
        address: Callable[[], str],
        now: Callable[[], float],
        count: Callable[[str, str], None],
    ) -> None:
        self._port = port
        self._operators = operators
        self._secrets = secrets
        self._parameters = parameters
        self._address = address
        self._now = now
        self._count = count

    async def alerts(self, request: web.Request, asker: Asker) -> object:
        """How many of the alerts asked for an action, and what became of the others."""
        sent = _read_alerts(await read_raw(request, MAX_BODY))
        results: Counter[str] = Counter()
        for number, alert in enumerate(sent.alerts):
            result = await self._one(alert, asker) if number < MOST_ALERTS else "too_many"
            self._count("alertmanager", result)
            results[result] += 1
        return dict(results)

    async def _one(self, alert: SentAlert, asker: Asker) -> str:
        action, environment = alert.labels.get("action", ""), alert.labels.get("environment", "")
        known = self._parameters(action)
        if alert.annotations.get(SENT_BY) == "custode" or alert.generatorURL.startswith(f"{self._address()}/"):
            return "ours"  # it asked us already
        if alert.status != "firing":
            return "resolved"
        if known is None or not environment:
            return "no_action"
        refusal = self._operators().refusal(asker.person, "request", environment, action)
        if refusal is not None:
            log.warning("alert_refused", sender=asker.person, action=action, environment=environment, because=refusal)
            return "refused"
        wanted = Request(
            environment=environment,
            action=action,
            key=f"alertmanager:{asker.person}:{alert.fingerprint or sorted(alert.labels.items())}@{alert.startsAt}",
            requested_by=f"alert {alert.labels.get('alertname', '')} of {asker.person}",
            at=self._now(),
            source=Source.ALERT,
            reason=alert.annotations.get("summary", ""),
            parameters={name: value for name, value in alert.labels.items() if name in known},
        )
        try:
            made = await self._port.submit(wanted)
        except StateError:
            raise
        except ActionError as error:
            log.warning("alert_refused", sender=asker.person, action=action, because=error.message)
            return "refused"
        return "asked" if made.new else "known"

    async def signed(self, request: web.Request) -> object:
        """A Submitted, as if the operator NAME had asked over HTTP. Sent again with its id, it is the same."""
        name = request.match_info["name"]
        body = await read_raw(request, MAX_BODY)
        secret = await self._operators().webhook_secret(name, self._secrets)
        try:
            # the same work for a name that nobody has
            message_id = verify(secret or "nobody", request.headers, body, self._now())
        except SignatureError as error:
            self._count("signed", "unsigned")
            raise UnidentifiedError(str(error)) from None
        if secret is None:
            raise UnidentifiedError("webhook-signature is wrong")
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
