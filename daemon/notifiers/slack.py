"""Follow each piece of trouble in a thread of Slack, with buttons to decide about it."""

from __future__ import annotations

from typing import Protocol

from daemon.notifiers._notifier import Message, Notifier, Receipt, Retryable
from daemon.slack.settings import SlackSettings
from fleet.secrets import Secrets


class Sends(Protocol):
    async def send(self, message: Message) -> Receipt: ...
    async def close(self) -> None: ...


class SlackNotifier(Notifier):
    """What does the work needs more of the daemon than a notifier is given: whoever starts it sets `slack`."""

    name = "slack"
    summary = "threads and buttons in Slack"
    parallel = 4
    needs_state = True
    hears_muted = True

    class Options(SlackSettings):
        """See SlackSettings."""

    def __init__(self, options: Options, secrets: Secrets) -> None:
        self._secrets = secrets
        self.settings = options
        self.slack: Sends | None = None

    async def probe(self) -> str:
        from daemon.slack.scopes import check_token  # which itself stands on the notifiers

        return await check_token(self.settings, self._secrets)

    async def send(self, message: Message) -> Receipt:
        if self.slack is None:
            raise Retryable("Slack is not open yet")
        return await self.slack.send(message)

    async def close(self) -> None:
        if self.slack is not None:
            await self.slack.close()
