"""The options of Slack in the configuration: `notifiers: slack:`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import time, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator

from fleet.durations import Duration
from fleet.policy import Strict
from fleet.secrets import SecretText

_Channel = Annotated[str, Field(pattern=r"^#?[^\s#]{1,80}$")]
_Who = Annotated[str, Field(pattern=r"^(here|channel|[UWS][A-Z0-9]{2,30})$")]
Least = Literal["critical", "warning", "info"]


def _reference(token: SecretText) -> SecretText:
    if not token.references:
        raise ValueError("holds a secret in plain text; write env:NAME, file:/path, awssm:name or vault:mount/path#key")
    return token


def _zone(value: object) -> ZoneInfo:
    if isinstance(value, ZoneInfo):
        return value
    try:
        return ZoneInfo(str(value))
    except (KeyError, ValueError, OSError):
        raise ValueError("is no time zone; write it like Europe/Rome") from None


def _clock(value: object) -> time:
    if isinstance(value, time):
        return value
    try:
        return time.fromisoformat(str(value))
    except ValueError:
        raise ValueError("is no time of day; write it like 22:00") from None


Token = Annotated[SecretText, AfterValidator(_reference)]
Zone = Annotated[ZoneInfo, PlainValidator(_zone), PlainSerializer(str)]
Clock = Annotated[time, PlainValidator(_clock), PlainSerializer(lambda value: f"{value:%H:%M}")]


class QuietHours(Strict):
    """From `begin` to `end`, over midnight too, nothing below critical is posted; what still lasts is, afterwards."""

    begin: Clock = Field(description="time of day, such as 22:00")
    end: Clock = Field(description="time of day, such as 07:00")


class Emergency(Strict):
    """Where people are called when production is down."""

    channel: _Channel | None = Field(None, description="channel; null: the usual one")
    mention: tuple[_Who, ...] = Field((), description="who is mentioned: users U…, user groups S…, or here")


class SlackSettings(Strict):
    """A Slack app with the scopes chat:write, channels:history, users:read.email and usergroups:read."""

    token: Token = Field(description="reference to the bot token, xoxb-…")
    app_token: Token | None = Field(
        None, description="reference to the app token, xapp-…: buttons work over Socket Mode, without an open port"
    )
    signing_secret: Token | None = Field(
        None, description="reference to the signing secret: buttons work over HTTP, at /api/v1/slack/interactions"
    )
    app_id: str | None = Field(None, description="id of the app, A…; clicks that come from others are refused")
    team: str | None = Field(None, description="id of the workspace, T…; null: the one of the token")
    api_url: str = Field("https://slack.com/api/", pattern=r"^https?://[^\s@]+/$", description="address of the Web API")
    channel: _Channel = Field(description="channel of everything that has no other")
    channels: Mapping[str, _Channel] = Field({}, description="channel of an environment, by its name")
    severities: Mapping[Least, _Channel] = Field({}, description="channel of a severity; goes before an environment's")
    emergency: Emergency = Emergency()
    owners: Mapping[str, tuple[_Who, ...]] = Field(
        {}, description="who is mentioned, by alert, promise (backup, schema, indexes, ...) or action; default: others"
    )
    least: Least = Field("warning", description="what is less severe is told only where it needs people")
    quiet: QuietHours | None = Field(None, description="hours in which only what is critical is told; null: none")
    timezone: Zone = Field(ZoneInfo("UTC"), description="of the times of day here")
    digest_at: Clock | None = Field(None, description="time of day of the fleet's promises, every day; null: never")
    storm: int = Field(10, ge=2, description="threads a minute in a channel; what goes beyond is told in one digest")
    reopen_within: Duration = Field(
        timedelta(hours=1), description="what fires again so soon after its end goes on in the same thread"
    )
