"""The API of actions, asked over real sockets; the engine behind it is kept in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from daemon.actions.request import Source
from daemon.actions.views import LedgerFilter, RunFilter, RunState
from daemon.web._actions_input import MAX_BODY
from daemon.web.control_socket import socket_path
from tests.integration.action_site import ME, TOKEN, MemoryActions, Staff, make_server

ASK = {"action": "analyze", "environment": "qa"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def port() -> MemoryActions:
    return MemoryActions(frozen=True)


@pytest.fixture
def staff() -> Staff:
    return Staff()


@pytest.fixture
async def url(port: MemoryActions, staff: Staff, tmp_path: Path) -> AsyncIterator[str]:
    server = make_server(port, staff)
    await server.start("127.0.0.1", 0, control=tmp_path)
    yield server.address
    await server.stop()


@pytest.fixture
async def tcp(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"{url}/api/v1/") as session:
        yield session


@pytest.fixture
async def local(url: str, tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    with socket_path(tmp_path) as path:
        async with aiohttp.ClientSession("http://custode/api/v1/", connector=aiohttp.UnixConnector(path)) as session:
            yield session


async def post(session: aiohttp.ClientSession, path: str, body: Any, **arguments: Any) -> tuple[int, dict[str, Any]]:
    async with session.post(path, json=body, **arguments) as response:
        return response.status, await response.json()


async def get(session: aiohttp.ClientSession, path: str) -> tuple[int, dict[str, Any]]:
    async with session.get(path, headers=BEARER) as response:
        return response.status, await response.json()


async def test_the_kernel_says_who_is_at_the_control_socket(local: aiohttp.ClientSession, port: MemoryActions) -> None:
    # a token counts for nothing here: who asks is known already
    status, answer = await post(local, "actions", ASK | {"environment": "production"}, headers=BEARER)
    assert (status, answer["data"]["run"]["requested_by"]) == (200, "ada")
    run_id = answer["data"]["run"]["id"]
    status, answer = await post(local, f"actions/{run_id}/approve", {"digest": "d1", "reason": "go"})
    assert (status, answer["data"]["state"]) == (200, "queued")
    given = port.details[run_id].answers[0]
    assert (given.person, given.via, given.reason, given.approved) == ("ada", "cli", "go", True)


async def test_an_account_that_is_no_operator(local: aiohttp.ClientSession, staff: Staff, port: MemoryActions) -> None:
    staff.accounts.clear()
    status, answer = await post(local, "actions", ASK)
    assert (status, answer["errorType"], answer["code"]) == (401, "unauthorized", "CU620")
    assert f"the account {ME} is no operator" in answer["error"]
    assert "configuration" in answer["hint"]
    assert not port.details


async def test_a_token_says_who_asks_over_tcp(tcp: aiohttp.ClientSession, port: MemoryActions) -> None:
    status, answer = await post(tcp, "actions", ASK | {"environment": "production"}, headers=BEARER)
    assert (status, answer["data"]["run"]["requested_by"]) == (200, "carla")
    run_id = answer["data"]["run"]["id"]
    lower = {"Authorization": f"bearer  {TOKEN} "}
    assert (await post(tcp, f"actions/{run_id}/reject", {"reason": "no"}, headers=lower))[0] == 200
    given = port.details[run_id].answers[0]
    assert (given.person, given.via, given.approved) == ("carla", "http", False)


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x"]
)
@pytest.mark.parametrize(
    "path", ["actions", "actions/0a/approve", "actions/0a/cancel", "actions/0a/retry", "stop-actions"]
)
async def test_nobody_changes_anything_unknown(
    tcp: aiohttp.ClientSession, port: MemoryActions, authorization: str | None, path: str
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    async with tcp.post(path, json=ASK, headers=headers) as response:
        answer = await response.json()
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
    assert "CUSTODE_TOKEN" in answer["hint"]
    assert TOKEN not in str(answer)
    assert not port.details
    assert not port.stopped.stopped


async def test_tokens_that_cannot_be_read_let_nobody_in(
    tcp: aiohttp.ClientSession, port: MemoryActions, staff: Staff
) -> None:
    staff.unreadable = True
    with capture_logs() as logs:
        status, answer = await post(tcp, "actions", ASK, headers=BEARER)
    assert (status, answer["errorType"]) == (503, "unavailable")
    assert "CARLAS_TOKEN" not in str(answer)
    assert [(entry["event"], entry["error"]) for entry in logs] == [
        ("tokens_cannot_be_read", "env:CARLAS_TOKEN is not set")
    ]
    assert not port.details


async def test_where_there_are_tokens_strangers_read_nothing(tcp: aiohttp.ClientSession) -> None:
    for path in ("actions", "ledger", "stop-actions"):
        assert (await get(tcp, path))[0] == 200, path
        async with tcp.get(path) as response:
            assert (response.status, (await response.json())["code"]) == (401, "CU620"), path


async def test_who_reaches_the_control_socket_reads(local: aiohttp.ClientSession, staff: Staff) -> None:
    staff.accounts.clear()
    for path in ("actions", "ledger", "stop-actions"):
        assert (await get(local, path))[0] == 200, path


async def test_a_request_becomes_a_run_once_for_its_key(tcp: aiohttp.ClientSession, port: MemoryActions) -> None:
    body = ASK | {"parameters": {"tables": ["a", 1, None]}, "reason": "slow", "key": "k1"}
    _, first = await post(tcp, "actions", body, headers=BEARER)
    _, second = await post(tcp, "actions", body, headers=BEARER)
    assert (first["data"]["new"], second["data"]["new"]) == (True, False)
    assert first["data"]["run"]["id"] == second["data"]["run"]["id"]
    run = next(iter(port.details.values())).run
    assert (run.key, run.source, run.reason) == ("person:k1", Source.PERSON, "slow")
    assert run.parameters == {"tables": ["a", 1, None]}
    await post(tcp, "actions", ASK, headers=BEARER)
    await post(tcp, "actions", ASK, headers=BEARER)
    assert len(port.details) == 3


async def test_a_dry_run_makes_no_run(tcp: aiohttp.ClientSession, port: MemoryActions) -> None:
    status, answer = await post(tcp, "actions", ASK | {"dry_run": True}, headers=BEARER)
    assert (status, answer["data"]["decision"], answer["data"]["plan"]["steps"]) == (200, "allowed", ["docs", "chunks"])
    assert not port.details


async def test_a_run_is_shown_with_steps_and_answers(tcp: aiohttp.ClientSession, port: MemoryActions) -> None:
    _, made = await post(tcp, "actions", ASK, headers=BEARER)
    run_id = made["data"]["run"]["id"]
    status, answer = await get(tcp, f"actions/{run_id[:3]}")
    assert (status, answer["data"]["run"]["id"]) == (200, run_id)
    assert set(answer["data"]) == {"run", "steps", "answers"}
    for path in ("actions/nobody", "actions/%25", "actions/a%00b", "actions/" + "a" * 65):
        status, answer = await get(tcp, path)
        assert (status, answer["errorType"], answer["code"]) == (404, "not_found", "CU510"), path


async def test_runs_are_taken_in_hand(tcp: aiohttp.ClientSession, port: MemoryActions) -> None:
    _, made = await post(tcp, "actions", ASK, headers=BEARER)
    place = f"actions/{made['data']['run']['id']}"
    assert (await post(tcp, f"{place}/pause", {}, headers=BEARER))[1]["data"]["state"] == "paused"
    assert (await post(tcp, f"{place}/resume", {}, headers=BEARER))[1]["data"]["state"] == "queued"
    status, answer = await post(tcp, f"{place}/resume", {}, headers=BEARER)
    assert (status, answer["errorType"]) == (409, "not_possible")
    status, answer = await post(tcp, f"{place}/cancel", {"reason": "wrong table"}, headers=BEARER)
    assert answer["data"]["result"] == "cancelled"
    assert port.ledger[-1].facts["reason"] == "wrong table"
    assert (await post(tcp, f"{place}/retry", {}, headers=BEARER))[1]["data"]["new"] is True


async def test_an_empty_body_says_nothing(tcp: aiohttp.ClientSession, port: MemoryActions) -> None:
    _, made = await post(tcp, "actions", ASK, headers=BEARER)
    headers = BEARER | {"Content-Type": "application/json"}
    async with tcp.post(f"actions/{made['data']['run']['id']}/pause", data=b"", headers=headers) as response:
        assert response.status == 200


async def test_the_switch(tcp: aiohttp.ClientSession, port: MemoryActions) -> None:
    assert (await get(tcp, "stop-actions"))[1]["data"]["stopped"] is False
    _, answer = await post(tcp, "stop-actions", {"stopped": True, "reason": "fire"}, headers=BEARER)
    assert (answer["data"]["stopped"], answer["data"]["reason"], answer["data"]["by"]) == (True, "fire", "carla")
    _, answer = await post(tcp, "stop-actions", {"stopped": False}, headers=BEARER)
    assert answer["data"]["stopped"] is False


async def test_filters_reach_the_engine(tcp: aiohttp.ClientSession, port: MemoryActions) -> None:
    await get(tcp, "actions?environment=qa&action=vacuum&state=queued&state=ended&before=17.5&limit=7")
    await get(tcp, "ledger?run=r&environment=qa&action=vacuum&person=ada&entry=outcome&since=3&before=9&limit=2")
    assert port.asked == [
        RunFilter("qa", "vacuum", (RunState.QUEUED, RunState.ENDED), 17.5, 7),
        LedgerFilter("r", "qa", "vacuum", "ada", "outcome", 3.0, 9, 2),
    ]


@pytest.mark.parametrize(
    "query",
    [
        "actions?colour=red",
        "actions?state=dancing",
        "actions?limit=0",
        "actions?limit=1001",
        "actions?limit=many",
        "actions?before=nan",
        "actions?before=inf",
        "actions?before=-1",
        "actions?environment=a&environment=b",
        "actions?environment=",
        "actions?environment=a%00b",
        "ledger?before=9223372036854775808",
        "ledger?since=1e300",
        "ledger?state=queued",
        "actions/0a?limit=1",
        "stop-actions?x=1",
    ],
)
async def test_filters_that_are_nonsense(tcp: aiohttp.ClientSession, port: MemoryActions, query: str) -> None:
    status, answer = await get(tcp, query)
    assert (status, answer["status"], answer["errorType"]) == (400, "error", "bad_data")
    assert answer["error"]
    assert not port.asked


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "action: Field required"),
        (b"nonsense", "the body is not JSON"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"\xff\xfe", "the body is not JSON"),
        (b"[" * 5000, "the body is not JSON"),
        (b'{"action": 1, "environment": "qa"}', "action: Input should be a valid string"),
        (b'{"action": "analyze", "environment": "qa", "dry-run": true}', "dry-run: is not known here"),
        (b'{"action": "analyze", "environment": "qa", "dry_run": "true"}', "dry_run: Input should be a valid boolean"),
        (b'{"action": "analyze", "environment": "qa", "parameters": []}', "parameters: Input should be a valid dict"),
        (b'{"action": "analyze", "environment": "qa", "parameters": {"x": NaN}}', "the body is not JSON"),
        (b'{"action": "analyze", "environment": "qa", "parameters": {"x": 1e999}}', "must be finite"),
        (b'{"action": "analyze", "environment": "qa", "parameters": {"x": [{"y": "a\\u0000"}]}}', "character NUL"),
        (b'{"action": "analyze", "environment": "qa", "parameters": {"x\\u0000": 1}}', "character NUL"),
        (b'{"action": "analyze", "environment": "qa", "parameters": {"x": 18446744073709551616}}', "64 bits"),
        (b'{"action": "analyze", "environment": "qa", "reason": "\\ud800"}', "the body is not JSON"),
        (b'{"action": "", "environment": "qa"}', "action: String should have at least 1 character"),
        (b'{"action": "analyze", "environment": "qa", "reason": "' + b"x" * MAX_BODY + b'"}', "too large"),
    ],
)
async def test_bodies_that_are_nonsense(
    tcp: aiohttp.ClientSession, port: MemoryActions, body: bytes, told: str
) -> None:
    headers = BEARER | {"Content-Type": "application/json"}
    async with tcp.post("actions", data=body, headers=headers) as response:
        answer = await response.json()
        status = 413 if len(body) > MAX_BODY else 400
        assert (response.status, answer["errorType"], answer["code"]) == (status, "bad_data", "CU621")
    assert told in answer["error"]
    assert len(answer["error"]) < 600
    assert not port.details


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("actions/0a/pause", {"reason": "x"}),
        ("actions/0a/approve", {"digest": 5}),
        ("actions/0a/reject", {}),
        ("actions/0a/reject", {"reason": ""}),
        ("stop-actions", {}),
        ("stop-actions", {"stopped": 1}),
        ("actions?dry_run=true", ASK),  # not heeded, it would run
    ],
)
async def test_what_is_not_understood_is_not_done(
    tcp: aiohttp.ClientSession, port: MemoryActions, path: str, body: dict[str, Any]
) -> None:
    await post(tcp, "actions", ASK | {"environment": "production"}, headers=BEARER)
    before = dict(port.details)
    status, answer = await post(tcp, path, body, headers=BEARER)
    assert (status, answer["errorType"]) == (400, "bad_data")
    assert port.details == before
    assert not port.stopped.stopped


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_what_a_form_of_another_site_can_send_is_refused(
    tcp: aiohttp.ClientSession, port: MemoryActions, content_type: str
) -> None:
    body = b'{"action": "analyze", "environment": "qa"}'
    async with tcp.post("actions", data=body, headers=BEARER | {"Content-Type": content_type}) as response:
        assert response.status == 400
        assert "application/json" in (await response.json())["hint"]
    async with tcp.post("actions", json=ASK, headers=BEARER | {"Origin": "http://evil.example"}) as response:
        assert response.status == 403
    assert not port.details


async def test_a_body_whose_compression_is_broken(tcp: aiohttp.ClientSession, port: MemoryActions) -> None:
    headers = BEARER | {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with tcp.post("actions", data=b"no gzip at all", headers=headers) as response:
        assert response.status == 400
    assert not port.details


async def test_what_the_engine_refuses(tcp: aiohttp.ClientSession, port: MemoryActions, staff: Staff) -> None:
    status, answer = await post(tcp, "actions", ASK | {"action": "dance"}, headers=BEARER)
    assert (status, answer["errorType"], answer["hint"]) == (409, "not_possible", "custode list actions")
    port.away = True
    for path in ("actions", "ledger", "stop-actions"):
        status, answer = await get(tcp, path)
        assert (status, answer["errorType"], answer["code"]) == (503, "unavailable", "CU611")


async def test_who_may_not_is_told_so(local: aiohttp.ClientSession, staff: Staff) -> None:
    staff.accounts[ME] = "mallory"
    status, answer = await post(local, "actions", ASK)
    assert (status, answer["errorType"], answer["code"]) == (403, "forbidden", "CU512")
    assert answer["error"] == "mallory may not do that"
