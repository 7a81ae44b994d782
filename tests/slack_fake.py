"""A Slack of our own: Web API and Socket Mode over real sockets, with the faults that the real one has.

It keeps messages as Slack does, refuses what Slack refuses (unknown channels, messages that are gone, blocks beyond
their limits), and lets a test click, be slow, be down, ask to wait, and lose an answer after the message was posted.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from aiohttp import WSMsgType, web

TOKEN, APP_TOKEN = "xoxb-of-the-fake", "xapp-of-the-fake"
SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"  # noqa: S105 - the one of Slack's documentation
TEAM, APP, BOT = "T01TEAM", "A01APP", "U0BOT"
_LIMITS: Mapping[str, int] = {"section": 3000, "button": 75, "value": 2000, "option": 75, "option value": 150}


@dataclass(slots=True)
class Fault:
    """What happens to the next `times` calls of a method. `lose`: it is done, and the answer never comes."""

    status: int = 200
    error: str | None = None
    retry_after: int | None = None
    seconds: float = 0.0
    lose: bool = False
    times: int = 1


@dataclass
class FakeSlack:
    channels: dict[str, str] = field(default_factory=lambda: {"C0GENERAL": "general", "C0ALERTS": "architect-alerts"})
    emails: dict[str, str] = field(default_factory=lambda: {"U0ALICE": "alice@example.com"})
    users: dict[str, dict[str, Any]] = field(default_factory=dict)  # what differs from a plain member
    groups: dict[str, list[str]] = field(default_factory=lambda: {"S0DBA": ["U0DORA"]})
    archived: set[str] = field(default_factory=set)
    scopes: str = "chat:write,channels:history,users:read,users:read.email,usergroups:read"
    messages: list[dict[str, Any]] = field(default_factory=list)
    whispers: list[dict[str, Any]] = field(default_factory=list)
    views: list[dict[str, Any]] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    edits: Counter[str] = field(default_factory=Counter)  # by time stamp
    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    _runner: web.AppRunner | None = None
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _triggers: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/"

    async def start(self) -> None:
        """Listen; again on the same port after a `stop`, as a Slack that comes back."""
        application = web.Application()
        application.router.add_route("*", "/api/{method}", self._call)
        application.router.add_get("/link", self._link)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        for socket in list(self.sockets):
            await socket.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def fail(self, method: str, **fault: Any) -> None:
        self.faults[method].append(Fault(**fault))

    async def until(self, holds: Any, seconds: float = 60.0) -> None:
        """Wait until `holds()` is true, looking whenever something has changed here."""
        try:
            async with asyncio.timeout(seconds):
                while not holds():
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            said = "\n".join(message["text"] for message in (*self.messages, *self.whispers))
            raise AssertionError(f"it did not come in {seconds:g} s; what did:\n{said}") from None

    # what a person sees and does

    def roots(self, channel: str = "C0GENERAL") -> list[dict[str, Any]]:
        return [m for m in self.messages if m["channel"] == channel and "thread_ts" not in m]

    def replies(self, ts: str) -> list[str]:
        return [message["text"] for message in self.messages if message.get("thread_ts") == ts]

    def buttons(self, message: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        found = {}
        for attachment in message.get("attachments") or ():
            for block in attachment.get("blocks", ()):
                for element in block.get("elements", ()) if block["type"] == "actions" else ():
                    found[element["action_id"].removeprefix("custode.")] = element
        return found

    def payload(self, message: Mapping[str, Any], button: str, user: str, **changed: Any) -> dict[str, Any]:
        """What Slack sends when `user` clicks; `option` chooses one of a menu, anything else is put in its place."""
        element = self.buttons(message)[button]
        trigger = f"{next(self._ids)}.trigger"
        self._triggers.add(trigger)
        action: dict[str, Any] = {"type": element["type"], "action_id": element["action_id"], "block_id": "custode"}
        if (option := changed.pop("option", None)) is not None:
            chosen = next(each for each in element["options"] if each["text"]["text"] == option)
            action["selected_option"] = chosen
        else:
            action["value"] = element.get("value")
        return {
            "type": "block_actions",
            "api_app_id": APP,
            "team": {"id": TEAM},
            "user": {"id": user, "username": user.lower(), "team_id": TEAM},
            "container": {"type": "message", "message_ts": message["ts"], "channel_id": message["channel"]},
            "channel": {"id": message["channel"]},
            "trigger_id": trigger,
            "response_url": "http://127.0.0.1:9/never",
            "actions": [action],
        } | changed

    def submission(self, view: Mapping[str, Any], user: str, reason: str) -> dict[str, Any]:
        state = {"values": {"reason": {"reason": {"type": "plain_text_input", "value": reason}}}}
        return {
            "type": "view_submission",
            "api_app_id": APP,
            "team": {"id": TEAM},
            "user": {"id": user},
            "view": dict(view) | {"state": state},
        }

    async def send(self, payload: Mapping[str, Any]) -> str:
        """Over a socket, as Slack does; returns once it was acknowledged, which must be within three seconds."""
        envelope = f"envelope-{next(self._ids)}"
        await self.until(lambda: any(not socket.closed for socket in self.sockets))
        socket = next(one for one in self.sockets if not one.closed)
        await socket.send_json({"envelope_id": envelope, "type": "interactive", "payload": payload})
        await self.until(lambda: envelope in self.acknowledged, 3.0)
        return envelope

    # the Web API

    async def _call(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        self.calls[method] += 1
        if request.content_type == "application/json":
            given = await request.json()
        else:
            given = dict(await request.post()) | dict(request.query)
        fault = self._fault(method)
        if fault is not None and fault.seconds:
            await asyncio.sleep(fault.seconds)
        if fault is not None and (fault.status != 200 or fault.error):
            headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            if fault.status >= 500:
                return web.Response(status=fault.status, text="<html>no</html>", content_type="text/html")
            body = {"ok": False, "error": fault.error or "ratelimited"}
            return web.json_response(body, status=fault.status, headers=headers)
        answer = self._answer(method, given, request.headers.get("Authorization", ""))
        self.changed.set()
        if fault is not None and fault.lose and request.transport is not None:
            request.transport.close()
        return web.json_response(answer, headers={"X-OAuth-Scopes": self.scopes})

    def _fault(self, method: str) -> Fault | None:
        waiting = self.faults[method]
        if not waiting:
            return None
        fault = waiting[0]
        fault.times -= 1
        if fault.times <= 0:
            waiting.pop(0)
        return fault

    def _answer(self, method: str, given: dict[str, Any], authorization: str) -> dict[str, Any]:
        wanted = APP_TOKEN if method == "apps.connections.open" else TOKEN
        if authorization != f"Bearer {wanted}":
            return {"ok": False, "error": "invalid_auth"}
        does = getattr(self, "_" + method.replace(".", "_"), None)
        if does is None:
            return {"ok": False, "error": "unknown_method"}
        try:
            return {"ok": True} | (does(given) or {})
        except _RefusedError as error:
            return {"ok": False, "error": str(error)}

    def _auth_test(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"team_id": TEAM, "user_id": BOT}

    def _apps_connections_open(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"url": f"ws://127.0.0.1:{self.port}/link"}

    def _channel(self, given: dict[str, Any]) -> str:
        wanted = str(given.get("channel", "")).removeprefix("#")
        for key, name in self.channels.items():
            if wanted in {key, name}:
                if key in self.archived:
                    raise _RefusedError("is_archived")
                return key
        raise _RefusedError("channel_not_found")

    def _message(self, given: dict[str, Any], key: str = "ts") -> dict[str, Any]:
        channel = self._channel(given)
        for message in self.messages:
            if (message["channel"], message["ts"]) == (channel, given.get(key)):
                return message
        raise _RefusedError("message_not_found")

    def _chat_postMessage(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - Slack's name
        channel = self._channel(given)
        _check(given)
        if given.get("thread_ts"):
            self._message({"channel": channel, "ts": given["thread_ts"]})
        message = given | {"channel": channel, "ts": f"1795533437.{next(self._ids):06d}", "user": BOT}
        self.messages.append(message)
        return {"channel": channel, "ts": message["ts"], "message": message}

    def _chat_update(self, given: dict[str, Any]) -> dict[str, Any]:
        if given.get("channel") not in self.channels:
            raise _RefusedError("channel_not_found")  # an edit needs the id
        message = self._message(given)
        _check(given)
        message.update(text=given.get("text"), attachments=given.get("attachments"))
        self.edits[message["ts"]] += 1
        return {"channel": message["channel"], "ts": message["ts"]}

    def _chat_postEphemeral(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - Slack's name
        self._channel(given)
        _check(given)
        self.whispers.append(given)
        return {"message_ts": f"{next(self._ids)}.0"}

    def _chat_getPermalink(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - Slack's name
        found = self._message(given, "message_ts")
        return {"permalink": f"https://team.example/archives/{found['channel']}/p{found['ts'].replace('.', '')}"}

    def _conversations_list(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"channels": [{"id": key, "name": name} for key, name in self.channels.items()]}

    def _conversations_history(self, given: dict[str, Any]) -> dict[str, Any]:
        if given.get("channel") not in self.channels:
            raise _RefusedError("channel_not_found")
        return {"messages": self.roots(given["channel"])}

    def _conversations_replies(self, given: dict[str, Any]) -> dict[str, Any]:
        self._message(given)
        return {"messages": [m for m in self.messages if given["ts"] in {m["ts"], m.get("thread_ts")}]}

    def _users_info(self, given: dict[str, Any]) -> dict[str, Any]:
        user = given["user"]
        if user not in self.emails:
            raise _RefusedError("user_not_found")
        return {"user": {"id": user, "profile": {"email": self.emails[user]}} | self.users.get(user, {})}

    def _usergroups_users_list(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"users": self.groups[given["usergroup"]]}

    def _views_open(self, given: dict[str, Any]) -> None:
        if given.get("trigger_id") not in self._triggers:
            raise _RefusedError("expired_trigger_id")
        self._triggers.discard(given["trigger_id"])
        self.views.append(given["view"])

    async def _link(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        await socket.send_json({"type": "hello"})
        self.changed.set()
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self.acknowledged.append(json.loads(message.data)["envelope_id"])
                self.changed.set()
        self.sockets.remove(socket)
        self.changed.set()
        return socket


class _RefusedError(Exception):
    pass


def signed(payload: object, timestamp: int, secret: str = SIGNING_SECRET) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request over HTTP, as Slack signs them."""
    body = urlencode({"payload": json.dumps(payload)})
    digest = hmac.new(secret.encode(), f"v0:{timestamp}:{body}".encode(), hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": str(timestamp),
        "X-Slack-Signature": f"v0={digest}",
    }
    return body.encode(), headers


def _check(given: Mapping[str, Any]) -> None:
    """Slack's limits on a message and its blocks."""
    if not given.get("text") and not given.get("blocks"):
        raise _RefusedError("no_text")
    if len(given.get("text") or "") > 40_000:
        raise _RefusedError("msg_too_long")
    attached = [block for one in given.get("attachments") or () for block in one.get("blocks", ())]
    blocks = [*(given.get("blocks") or ()), *attached]
    ids = [each["action_id"] for block in blocks for each in block.get("elements", ()) if "action_id" in each]
    if len(blocks) > 50 or len(ids) != len(set(ids)) or not all(_fits(block) for block in blocks):
        raise _RefusedError("invalid_blocks")


def _fits(block: Mapping[str, Any]) -> bool:
    lengths = []
    if block["type"] == "section":
        lengths.append((block["text"]["text"], "section"))
    for element in block.get("elements", ()):
        if element["type"] == "button":
            lengths += [(element["text"]["text"], "button"), (element.get("value", "-"), "value")]
        for option in element.get("options", ()):
            lengths += [(option["text"]["text"], "option"), (option["value"], "option value")]
    counted = len(block.get("elements", ())) <= (10 if block["type"] == "context" else 25)
    return counted and all(1 <= len(text) <= _LIMITS[kind] for text, kind in lengths)
