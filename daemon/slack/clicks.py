"""What Slack sends when somebody clicks: hostile until proven otherwise, read into a Click or not at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from daemon.slack.blocks import SILENCES

KINDS = frozenset({"approve", "reject", "rejected", "run", "cancel", "silence", "silence_for", "unsilence", "details"})
_VALUE = re.compile(r"([0-9a-f]{12}):([0-9]{1,9})(?::([0-9a-z]{1,4}))?", re.ASCII)
_ID = re.compile(r"[A-Z0-9]{2,30}", re.ASCII)
LONGEST_REASON = 500


class ClickError(ValueError):
    """It is none of ours, or not as Slack sends it."""


@dataclass(frozen=True, slots=True)
class Click:
    """`thread` and `version` are what the button carried; `channel` and `ts` are where it was, None for a form.

    `seconds` is the duration chosen for a silence, `trigger` opens a form within three seconds.
    """

    kind: str
    thread: str
    version: int
    user: str
    team: str
    app: str
    channel: str | None = None
    ts: str | None = None
    trigger: str = ""
    seconds: float = SILENCES["2h"]
    reason: str = ""


def read_click(payload: object) -> Click | None:
    """The click in a payload of Slack; None for what asks nothing (a link, a form that was closed).

    Raises:
        ClickError: malformed.
    """
    try:
        return _read(_mapping(payload))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ClickError(f"a part is missing or is something else: {type(error).__name__}") from error


def _read(payload: Mapping[str, Any]) -> Click | None:
    match payload.get("type"):
        case "block_actions":
            action = _mapping(payload["actions"][0])
            kind = str(action.get("action_id", ""))
            if not kind.startswith("custode."):
                return None
            option = action.get("selected_option")
            value = action.get("value") if option is None else _mapping(option).get("value")
            container = _mapping(payload["container"])
            return _click(
                payload,
                kind.removeprefix("custode."),
                value,
                channel=_text(container["channel_id"]),
                ts=_text(container["message_ts"]),
            )
        case "view_submission":
            view = _mapping(payload["view"])
            if view.get("callback_id") != "custode.rejected":
                return None
            said = view["state"]["values"]["reason"]["reason"].get("value") or ""
            return _click(payload, "rejected", view["private_metadata"], reason=_text(said)[:LONGEST_REASON])
    return None


def _click(payload: Mapping[str, Any], kind: str, value: object, **fields: Any) -> Click:
    read = _VALUE.fullmatch(value) if isinstance(value, str) else None
    if kind not in KINDS or read is None:
        raise ClickError("a button that is not ours")
    if kind == "silence_for":
        if read[3] not in SILENCES:
            raise ClickError("a duration that was not offered")
        fields["seconds"] = SILENCES[read[3]]
    elif read[3] is not None:
        raise ClickError("a value that we do not write")
    user, team = _id(payload["user"]["id"]), _id(payload["team"]["id"])
    app, trigger = payload.get("api_app_id", ""), payload.get("trigger_id", "")
    return Click(kind, read[1], int(read[2]), user, team, _text(app), trigger=_text(trigger), **fields)


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ClickError("no object where one is needed")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ClickError("no text where one is needed")
    return value


def _id(value: object) -> str:
    if not isinstance(value, str) or _ID.fullmatch(value) is None:
        raise ClickError("no id of Slack where one is needed")
    return value
