"""Who is told of alerts and actions: notifiers through the outbox, Alertmanagers; and what comes back from there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack

from daemon.acting import Acting, Own
from daemon.actions import ActionEvent
from daemon.alerting import Alerting
from daemon.alertmanager import Hold, Pusher, fingerprint, make_clients
from daemon.config import Settings
from daemon.heartbeat import Heartbeat
from daemon.notifiers import Message
from daemon.notifiers.slack import SlackNotifier
from daemon.notify import action_message, alert_message, muting_message, told_before
from daemon.outbox import MessageSender, Outbox, message_notice
from daemon.parts import make_notifiers
from daemon.silences import Muting, SilenceKeeper, Silences
from daemon.slack.app import Slack, Surroundings
from daemon.status import Board
from daemon.telemetry import Telemetry
from daemon.web.access.access import Access
from daemon.web.alert import alert_routes
from daemon.web.identity import Identity
from daemon.web.routes import Register
from daemon.web.silences import silence_routes
from daemon.web.webhooks import webhook_routes
from fleet.secrets import Secrets
from rules import AlertView, Transition

DRAIN_SECONDS = 5.0
PAGE_SECONDS = 2.0  # for what is to be told to Alertmanagers before the daemon ends


class Telling:
    """`address` is that at which people reach the daemon, `now` gives unix seconds.

    `not_ready` says what keeps the daemon from its work, None where nothing does.
    """

    def __init__(
        self,
        settings: Settings,
        secrets: Secrets,
        telemetry: Telemetry,
        *,
        alerting: Alerting,
        acting: Acting,
        address: Callable[[], str],
        not_ready: Callable[[], str | None],
        board: Callable[[], Awaitable[Board]],
        now: Callable[[], float],
    ) -> None:
        self._secrets = secrets
        self._telemetry = telemetry
        self._alerting = alerting
        self._acting = acting
        self._address = address
        self._now = now
        notifiers = make_notifiers(settings, secrets)
        senders = {name: MessageSender(one) for name, one in notifiers.items()}
        spool = settings.data_dir / "outbox.jsonl"
        self.outbox = Outbox(acting.state, senders, telemetry.outbox, spool=spool)
        paged = settings.alertmanager
        self._hold = Hold(paged.hold.total_seconds, lambda: acting.actions)
        self._pusher = Pusher(
            paged,
            make_clients(paged, secrets),
            telemetry.pushed,
            alerts=alerting.told,
            interval=lambda: max((group.interval for group in alerting.groups(rules=False)), default=0.0),
            url=lambda alert: f"{address()}/alerts/{fingerprint(alert.labels)}",
            held=self._hold.holds,
            now=now,
        )
        self.silences = Silences(acting.state, acting.ledger, acting.operators, now=now)
        self._keeper = SilenceKeeper(
            self.silences,
            make_clients(paged, secrets),
            alerts=alerting.firing,
            extra=paged.labels,
            muted=self._on_muted,
            now=now,
        )
        self._slacks: dict[str, Slack] = {}
        for name, notifier in notifiers.items():
            if isinstance(notifier, SlackNotifier):
                notifier.slack = self._slacks[name] = Slack(notifier.settings, self._around_slack(name, board))
        self._heartbeat = Heartbeat(settings.heartbeat, secrets, not_ready)

    def routes(self, identity: Identity, access: Access) -> Sequence[Register]:
        return (
            *(slack.register for slack in self._slacks.values()),
            silence_routes(self.silences, identity),
            alert_routes(self._alerting.groups),
            webhook_routes(
                self._acting.people,
                identity,
                access,
                self._acting.operators,
                self._secrets,
                parameters=self._acting.parameters,
                address=self._address,
                now=self._now,
                count=lambda kind, result: self._telemetry.webhooks.labels(kind, result).inc(),
            ),
        )

    def start(self, own: Own, parts: AsyncExitStack) -> None:
        """Send from now on what is to be told; `parts` ends it, once what can be sent was sent."""
        own("notify", self.outbox.run())
        parts.push_async_callback(self.outbox.drain, DRAIN_SECONDS)

    def serve(self, own: Own, parts: AsyncExitStack) -> None:
        """The rest, once it is known which alerts are ours."""
        # what the process before this one may not have written down; what it did write is told once all the same
        for change in told_before(self._alerting.told(), self._now()):
            self._post(change)
        own("silences", self._keeper.run())
        own("alertmanager", self._pusher.run())
        parts.push_async_callback(self._pusher.drain, PAGE_SECONDS)
        for name, slack in self._slacks.items():
            own(name, slack.serve())
        own("heartbeat", self._heartbeat.run())

    def muting(self, labels: Mapping[str, str]) -> Muting | None:
        """Why an alert with these labels does not page."""
        return self._keeper.muting(labels)

    def publish(self, change: Transition) -> None:
        """An alert has changed. Does not block."""
        self._pusher.wake()
        self._post(change)

    def on_action(self, event: ActionEvent) -> None:
        """Something happened in a run. Does not block."""
        if self._hold.note(event):
            self._pusher.wake()
        if not event.again:
            self.tell(action_message(event))

    def tell(self, message: Message) -> None:
        """To every notifier."""
        self.outbox.post(message)

    def _around_slack(self, name: str, board: Callable[[], Awaitable[Board]]) -> Surroundings:
        acting = self._acting
        return Surroundings(
            state=acting.state,
            secrets=self._secrets,
            port=acting.people,
            ledger=acting.ledger,
            silences=self.silences,
            operators=lambda: acting.operators().configured,
            permissions=acting.operators,
            actions=acting.actions,
            metrics=self._telemetry.slack,
            board=board,
            post=lambda message: self.outbox.put(message_notice(name, message)),
            address=self._address,
            now=self._now,
        )

    def _post(self, change: Transition) -> None:
        message = alert_message(change)
        if message is not None:
            self.outbox.post(message, muted=self._keeper.muting(dict(change.labels)) is not None)

    def _on_muted(self, alert: AlertView, before: Muting | None, after: Muting | None) -> None:
        """Somebody has silenced an alert, here or in Alertmanager, or it pages again; for those who show alerts."""
        message = muting_message(alert, before, after, self._now())
        if message is not None:
            self.outbox.post(message, muted=True)
