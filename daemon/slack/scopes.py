"""Whether Slack takes the token, and what the app may do."""

from __future__ import annotations

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError

from daemon import clock
from daemon.notifiers import Permanent, Retryable
from daemon.slack._api import SlackApi
from daemon.slack.settings import SlackSettings
from fleet.errors import SecretError
from fleet.secrets import Secrets

NEEDED = frozenset({"chat:write", "channels:history", "users:read.email", "usergroups:read"})
_HINT = "api.slack.com/apps, OAuth & Permissions: add them, then install the app anew"


async def check_token(settings: SlackSettings, secrets: Secrets) -> str:
    """Who we are there. Raises Retryable, Permanent where the token is refused or lacks a scope."""
    api = SlackApi(settings.token, secrets, settings.api_url, clock.monotonic)
    try:
        answer = await api.client(await secrets.fill(settings.token)).auth_test()
    except SecretError as error:
        raise Retryable(error.message, hint=error.hint) from error
    except SlackApiError as error:
        raise Permanent(f"Slack refuses the token: {error.response.get('error')}", hint=_HINT) from None
    except (TimeoutError, aiohttp.ClientError, SlackClientError, OSError) as error:
        raise Retryable(f"Slack cannot be reached: {type(error).__name__}") from None
    finally:
        await api.close()
    said = {name.lower(): value for name, value in answer.headers.items()}.get("x-oauth-scopes", "")
    given = {scope.strip() for scope in (said if isinstance(said, str) else ",".join(said)).split(",")}
    if missing := sorted(NEEDED - given):
        raise Permanent(f"the app lacks the scopes {', '.join(missing)}", hint=_HINT)
    return f"{answer.get('user')} in {answer.get('team')}, with all scopes"
