"""A daemon's engine, outbox and Slack, before a Slack of our own that keeps what it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from actions import Action
from daemon.actions import ActionEvent
from daemon.actions.ledger import Ledger
from daemon.actions.operators import Operators
from daemon.actions.views import LedgerFilter, LedgerView
from daemon.config import OperatorSettings
from daemon.notifiers import Message
from daemon.notifiers.slack import SlackNotifier
from daemon.notify import action_message, alert_message
from daemon.outbox import MessageSender, Outbox, OutboxMetrics, message_notice
from daemon.silences import Silences
from daemon.slack.app import Slack, Surroundings
from daemon.slack.metrics import SlackMetrics
from daemon.status import Board
from fleet.secrets import Secrets
from tests.integration.engines import Daemon, MakeDaemon, TestWorld, serving, until
from tests.slack_fake import APP_TOKEN, SIGNING_SECRET, TOKEN, FakeSlack

PEOPLE: Mapping[str, Mapping[str, Any]] = {
    "anna": {"slack": ["U0ANNA"]},
    "alice": {"slack": ["alice@example.com"]},
    "dba": {"slack": ["S0DBA"]},
    "bruno": {"slack": ["U0BRUNO"], "environments": ["qa"]},
    "fay": {"slack": ["U0FAY"], "risks": ["read", "safe"]},
}
CRITICAL = {"alertname": "IndexBloat", "environment": "qa", "severity": "critical", "tier": "qa", "promise": "indexes"}


@dataclass
class Change:
    """An alert that changed its state."""

    labels: Mapping[str, str]
    after: str
    at: float
    annotations: Mapping[str, str] = field(default_factory=lambda: {"summary": "12 GiB wasted"})
    value: float = 1.0


@dataclass
class TellingWorld(TestWorld):
    """Tells what the engine emits to whoever listens."""

    post: Callable[[Message], None] = field(default=lambda _message: None)

    def emit(self, event: ActionEvent) -> None:
        super().emit(event)
        if not event.again:
            self.post(action_message(event))


@dataclass
class SlackSite:
    fake: FakeSlack
    daemon: Daemon
    outbox: Outbox
    slack: Slack
    metrics: SlackMetrics
    world: TellingWorld
    secrets: Secrets
    stack: AsyncExitStack

    def change(self, after: str, labels: Mapping[str, str] = CRITICAL, **fields: Any) -> None:
        """An alert fires or is resolved now."""
        message = alert_message(Change(labels, after, self.world.now(), **fields))
        assert message is not None
        self.outbox.post(message)

    async def root(self, said: str, channel: str = "C0GENERAL", seconds: float = 60.0) -> dict[str, Any]:
        """The only first message in the channel, once it says that."""
        await self.fake.until(lambda: any(said in each["text"] for each in self.fake.roots(channel)), seconds)
        (found,) = self.fake.roots(channel)
        return found

    async def reply(self, ts: str, said: str) -> str:
        await self.fake.until(lambda: any(said in each for each in self.fake.replies(ts)))
        return next(each for each in self.fake.replies(ts) if said in each)

    async def whisper(self, said: str) -> dict[str, Any]:
        """What only one person was told, once it says that."""
        await self.fake.until(lambda: any(said in str(each) for each in self.fake.whispers))
        return next(each for each in self.fake.whispers if said in str(each))

    async def click(self, message: Mapping[str, Any], button: str, user: str = "U0ANNA", **changed: Any) -> None:
        await self.fake.send(self.fake.payload(message, button, user, **changed))

    async def clicks(self, count: int) -> list[LedgerView]:
        """The clicks on record, oldest first, once there are so many."""
        found: list[LedgerView] = []

        async def there() -> bool:
            found[:] = await self.daemon.people.entries(LedgerFilter(entry="click"))
            return len(found) >= count

        await until(there)
        return found[::-1]

    async def stop(self) -> None:
        await self.stack.aclose()


MakeSlack = Callable[..., Awaitable[SlackSite]]


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    fake = FakeSlack()
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def make_slack(
    slack: FakeSlack, world: TestWorld, make_daemon: MakeDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[MakeSlack]:
    """Start daemons that talk to the same Slack, on one state database."""
    for name, value in {"T_BOT": TOKEN, "T_APP": APP_TOKEN, "T_SIGN": SIGNING_SECRET}.items():
        monkeypatch.setenv(name, value)
    async with AsyncExitStack() as stack:

        async def make(
            *actions: Action[Any],
            board: Callable[[], Awaitable[Board]] | None = None,
            shift: float = 0.0,
            **options: Any,
        ) -> SlackSite:
            around = TellingWorld(world.environments, firing=True, shift=shift)
            people = {name: OperatorSettings.model_validate(said) for name, said in PEOPLE.items()}
            daemon = await make_daemon(*actions, operators=people, around=around)
            ledger, known = Ledger(daemon.state, tmp_path, around.now), Operators(people, "nobody")
            secrets, metrics = Secrets(around.now), SlackMetrics()
            defaults = {"token": "env:T_BOT", "app_token": "env:T_APP", "channel": "#general", "app_id": "A01APP"}
            settings = SlackNotifier.Options.model_validate(defaults | {"api_url": slack.url} | options)
            notifier = SlackNotifier(settings, secrets)
            outbox = Outbox(daemon.state, {"slack": MessageSender(notifier)}, OutboxMetrics())
            made = Slack(
                settings,
                Surroundings(
                    state=daemon.state,
                    secrets=secrets,
                    port=daemon.people,
                    ledger=ledger,
                    silences=Silences(daemon.state, ledger, lambda: known, now=around.now),
                    operators=lambda: people,
                    permissions=lambda: known,
                    actions={action.name: action for action in actions},
                    metrics=metrics,
                    board=board or _no_board,
                    post=lambda message: outbox.put(message_notice("slack", message)),
                    address=lambda: "https://custode.example",
                    now=around.now,
                ),
            )
            notifier.slack = made
            around.post = outbox.post
            own = AsyncExitStack()
            stack.push_async_callback(own.aclose)
            await own.enter_async_context(serving(outbox.run(), made.serve()))
            return SlackSite(slack, daemon, outbox, made, metrics, around, secrets, own)

        yield make


async def _no_board() -> Board:
    return Board(0.0, (), ())
