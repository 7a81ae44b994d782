"""Attacks on the daemon's HTTP, and what people and programs see who are let in or not."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs
from yarl import URL

from daemon.web.access import Role
from daemon.web.access import csrf as csrf_module
from daemon.web.access.csrf import HEADER
from daemon.web.access.failures import WITHIN
from daemon.web.access.passwords import Passwords
from daemon.web.access.policy import read_policy
from daemon.web.routes import Route, registering
from tests.access_site import (
    PASSWORDS,
    TOKENS,
    Clock,
    Site,
    access_of,
    basic,
    bearer,
    csrf_of,
    hashed,
    made,
    probes,
    serving,
    settings_with,
    signed_in,
    write_web_config,
)

ALLOWED = 10  # failures in a minute, by default

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def site(tmp_path: Path, clock: Clock) -> AsyncIterator[Site]:
    write_web_config(tmp_path)
    async with made(access_of(settings_with(tmp_path), clock)) as site:
        yield site


@pytest.mark.parametrize(
    "value",
    [
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic YQ",
        "Basic YTpi/",
        "Basic gIA6gIA=",
        "Basic OjpiOg==",
        "Basic OnB3",
        "basic",
    ],
)
async def test_junk_is_no_password_and_no_error_of_ours(site: Site, value: str) -> None:
    assert await site.status("GET", "/api/v1/viewer", {"Authorization": value}) == 401


@pytest.mark.parametrize("password", ["x" * 73, "x" * 5000, "of-ada\0", "", "o", "of-ada "])
async def test_passwords_that_bcrypt_cannot_read_are_wrong(site: Site, password: str) -> None:
    assert await site.status("GET", "/api/v1/viewer", basic("ada", password)) == 401


async def test_whom_a_request_comes_from(site: Site) -> None:
    assert await site.who(basic("olga")) | {"csrf": ""} == {
        "person": "olga",
        "role": "OPERATOR",
        "via": "http",
        "csrf": "",
    }
    seen = await site.who(await signed_in(site.session, token=TOKENS["admin"]))
    assert (seen["person"], seen["role"], seen["via"]) == ("ta", "ADMIN", "page")
    seen = await site.who(bearer(TOKENS["viewer"]))
    assert (seen["person"], seen["role"], seen["via"], seen["csrf"]) == ("tv", "VIEWER", "http", "")


@pytest.mark.parametrize("kind", ["session", "password"])
async def test_forged_requests(site: Site, kind: str) -> None:
    async def headers_of(user: str) -> dict[str, str]:
        return await signed_in(site.session, user) if kind == "session" else basic(user)

    mine, others = await headers_of("olga"), await headers_of("ada")
    token, foreign = await csrf_of(site.session, mine), await csrf_of(site.session, others)
    assert token != foreign
    path = "/api/v1/operator"
    for wrong in ("", "0" * 64, foreign, token[:-1], token + "0", token.upper() + "é"):
        assert await site.status("POST", path, mine | {HEADER: wrong}) == 403, wrong
        assert await site.status("POST", path, mine, data={"csrf": wrong}) == 403, wrong
    assert await site.status("POST", path, mine) == 403
    assert await site.status("POST", path, mine, json={"csrf": token}) == 403
    assert await site.status("POST", f"{path}?csrf={token}", mine) == 403
    assert await site.status("POST", path, mine | {HEADER: token}) == 200
    assert await site.status("POST", path, mine, data={"csrf": token}) == 200
    assert await site.status("POST", "/api/v1/asked", mine) == 200  # a question that is posted


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Origin": "http://custode.example"}, False),
        ({"Origin": "https://custode.example.evil.example"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "same-site", "Origin": "https://custode.example"}, False),
        ({"Origin": "https://custode.example"}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
    ],
)
async def test_pages_of_other_sites(tmp_path: Path, headers: dict[str, str], allowed: bool) -> None:
    """Behind a proxy, ours is what external_url says."""
    write_web_config(tmp_path)
    async with made(access_of(settings_with(tmp_path, external_url="https://custode.example"))) as site:
        ours = basic("olga")
        ours |= {HEADER: await csrf_of(site.session, ours)}
        for known in (ours, bearer(TOKENS["operator"])):
            assert await site.status("POST", "/api/v1/operator", known | headers) == (200 if allowed else 403)


@pytest.mark.parametrize("override", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
async def test_a_header_makes_no_change_of_a_question(site: Site, override: str) -> None:
    headers = await signed_in(site.session, "olga")
    assert await site.status("POST", "/api/v1/operator", headers | {override: "GET"}) == 403
    async with site.session.get("/change", headers=headers | {override: "POST"}) as answer:
        assert answer.status == 405


async def test_names_that_others_point_at_us(tmp_path: Path) -> None:
    """DNS rebinding: a page of evil.example, whose name leads to 127.0.0.1 by now, asks us."""
    async with made(access_of(settings_with(tmp_path, {"hosts": ["custode.internal"]}))) as site:
        port = site.server.address.rpartition(":")[2]
        for path in ("/api/v1/viewer", "/metrics", "/-/healthy", "/nowhere"):
            for host in (f"evil.example:{port}", "localhost.evil.example", "custode.internal.evil.example"):
                spoofed = {"Host": host, "X-Forwarded-Host": "localhost", "Forwarded": "host=localhost"}
                assert await site.status("GET", path, spoofed) == 421, (path, host)
        for host in ("custode.internal", f"localhost:{port}", "CUSTODE.internal:80", f"127.0.0.1:{port}"):
            assert await site.status("GET", "/api/v1/viewer", {"Host": host, "X-Forwarded-Host": "evil.example"}) == 200
        async with site.session.get("/api/v1/viewer", headers={"Host": "evil.example"}) as answer:
            told = await answer.json()
            assert (told["status"], told["errorType"], told["code"]) == ("error", "misdirected", "CU624")
            assert "access.hosts" in told["hint"]
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(b"GET /api/v1/viewer HTTP/1.0\r\n\r\n")
        assert b" 421 " in await reader.readline()
        writer.close()
        await writer.wait_closed()


async def test_bodies_that_are_too_large_or_do_not_come(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csrf_module, "READ_SECONDS", 0.2)
    headers = await signed_in(site.session, "olga")
    assert (
        await site.status("POST", "/api/v1/operator", headers | FORM, data=io.BytesIO(b"csrf=" + b"x" * 2**21)) == 413
    )

    async def slowly() -> AsyncIterator[bytes]:
        yield b"csrf="
        await asyncio.sleep(30)
        yield b"x"

    assert await site.status("POST", "/api/v1/operator", headers | FORM, data=slowly()) == 408


async def test_guessing_is_slowed_down_and_hurts_nobody_else(site: Site, clock: Clock) -> None:
    browser = await signed_in(site.session, "vera")
    assert await site.status("GET", "/api/v1/viewer", basic("olga")) == 200
    statuses = [await site.status("GET", "/api/v1/viewer", basic("ada", f"guess {n}")) for n in range(ALLOWED + 5)]
    assert statuses == [401] * ALLOWED + [429] * 5
    async with site.session.get("/api/v1/viewer", headers=basic("ada")) as answer:  # right at last, and too late
        assert (answer.status, int(answer.headers["Retry-After"])) == (429, WITHIN)
        told = await answer.json()
        assert (told["errorType"], told["code"]) == ("too_many_requests", "CU622")
    assert await site.status("GET", "/api/v1/viewer", bearer("guess")) == 429
    # who was known before, who has a token, and who comes from elsewhere
    for headers in (browser, basic("olga"), bearer(TOKENS["admin"])):
        assert await site.status("GET", "/api/v1/viewer", headers) == 200
    elsewhere = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    async with (
        aiohttp.ClientSession(site.server.address, connector=elsewhere) as session,
        session.get("/api/v1/viewer", headers=basic("ada")) as answer,
    ):
        assert answer.status == 200
    clock.now += WITHIN
    assert await site.status("GET", "/api/v1/viewer", basic("ada")) == 200


async def test_behind_a_proxy_who_guesses_shuts_out_himself_only(tmp_path: Path, clock: Clock) -> None:
    write_web_config(tmp_path)
    document = {"config_file": str(tmp_path / "web.yml"), "trusted_proxies": ["127.0.0.1"]}
    async with made(access_of(settings_with(tmp_path, document), clock)) as site:

        async def status(client: str, password: str | None = None) -> int:
            return await site.status("GET", "/api/v1/viewer", basic("ada", password) | {"X-Forwarded-For": client})

        guesses = [await status(f"198.51.100.{number}, 203.0.113.7", "guess") for number in range(ALLOWED)]
        assert guesses == [401] * ALLOWED
        assert await status("203.0.113.7") == 429
        assert await status("203.0.113.8") == 200
    async with made(access_of(settings_with(tmp_path), clock)) as site:  # which trusts no proxy
        assert [await status(f"203.0.113.{number}", "guess") for number in range(ALLOWED)] == [401] * ALLOWED
        assert await status("198.51.100.1") == 429


async def test_guesses_at_the_same_time_are_counted_too(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    original = Passwords.right

    async def noting(self: Passwords, users: Mapping[str, str], user: str, password: str) -> bool:
        tried.append(password)
        return await original(self, users, user, password)

    monkeypatch.setattr(Passwords, "right", noting)
    guesses = [site.status("GET", "/api/v1/viewer", basic("ada", f"guess {n}")) for n in range(60)]
    assert set(await asyncio.gather(*guesses)) == {401, 429}
    assert len(tried) <= ALLOWED + 2


async def test_what_is_told_to_whom_is_not_known(site: Site) -> None:
    async with site.session.get("/look?x=//evil&y=1", headers=HTML, allow_redirects=False) as answer:
        leads = URL(answer.headers["Location"])
        assert (answer.status, leads.path, dict(leads.query)) == (303, "/login", {"next": "/look?x=//evil&y=1"})
    async with site.session.post("/change", headers=HTML, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/login?next=/")
    part = {"HX-Request": "true", "HX-Current-URL": f"{site.server.address}/look?x=1"}
    async with site.session.get("/look", headers=part) as answer:
        assert (answer.status, answer.headers["HX-Redirect"]) == (401, "/login?next=/look")
        assert "WWW-Authenticate" not in answer.headers
    async with site.session.get("/look", headers=part | {"HX-Current-URL": "http://["}) as answer:
        assert (answer.status, answer.headers["HX-Redirect"]) == (401, "/login?next=/")
    async with site.session.get("/look") as answer:
        assert (answer.status, answer.content_type) == (401, "text/plain")
        assert answer.headers.getall("WWW-Authenticate") == ["Bearer", 'Basic realm="Custode", charset="UTF-8"']
        assert "CUSTODE_TOKEN" in await answer.text()
    async with site.session.get("/api/v1/viewer", headers=HTML | {"Sec-Fetch-Mode": "cors"}) as answer:
        assert answer.headers.getall("WWW-Authenticate") == ["Bearer"]  # a script must not make a browser ask
        assert (await answer.json())["code"] == "CU620"
    async with site.session.post("/api/v1/admin", headers=bearer(TOKENS["operator"])) as answer:
        told = await answer.json()
        assert (answer.status, told["errorType"], "WWW-Authenticate" in answer.headers) == (403, "forbidden", False)
        assert told["error"] == "to has the role operator here, and this needs admin"


async def test_browsers_stay_signed_in_as_long_as_what_they_were_signed_in_by_counts(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARLA", "of-carla")
    write_web_config(tmp_path)
    digest = settings_with(tmp_path).access.tokens["to"].sha256
    assert digest is not None
    document: dict[str, Any] = {
        "config_file": str(tmp_path / "web.yml"),
        "session": "1h",
        "tokens": {"to": {"sha256": digest.get_secret_value(), "role": "operator"}},
    }
    operators: dict[str, Any] = {"carla": {"token": "env:CARLA"}}
    settings = settings_with(tmp_path, document, operators=operators)
    async with made(access_of(settings, clock)) as site:
        vera = await signed_in(site.session, "vera")
        token = await signed_in(site.session, token=TOKENS["operator"])
        carla = await signed_in(site.session, token="of-carla")  # noqa: S106 - of nobody
        assert [(await site.who(one))["role"] for one in (vera, token, carla)] == ["VIEWER", "OPERATOR", "OPERATOR"]
        # the role is that of the moment
        document["roles"] = {"vera": "admin", "carla": "viewer"}
        site.access.take(read_policy(settings_with(tmp_path, document, operators=operators)))
        assert [(await site.who(one))["role"] for one in (vera, carla)] == ["ADMIN", "VIEWER"]
        # another password, a token that has expired, one that is gone
        write_web_config(tmp_path, basic_auth_users={"vera": hashed(PASSWORDS["vera"])})
        document["tokens"]["to"]["expires"] = "2020-01-01"
        site.access.take(read_policy(settings_with(tmp_path, document, operators=operators)))
        for one in (vera, token):
            assert await site.status("GET", "/api/v1/viewer", one) == 401
        assert await site.status("GET", "/api/v1/viewer", bearer(TOKENS["operator"])) == 401
        assert await site.status("GET", "/api/v1/viewer", carla) == 200
        clock.now += 3599
        follows = {"HX-Request": "true"}  # a page that keeps itself up to date is nobody's doing
        assert await site.status("GET", "/api/v1/viewer", carla | follows) == 200
        clock.now += 1
        assert await site.status("GET", "/api/v1/viewer", carla) == 401


async def test_following_ends_with_the_session(tmp_path: Path) -> None:
    """What began while somebody was signed in, such as a stream of events, asks again whether it may go on."""
    write_web_config(tmp_path)
    access, began, go_on = access_of(settings_with(tmp_path)), asyncio.Event(), asyncio.Event()

    async def follow(request: web.Request) -> web.Response:
        began.set()
        await go_on.wait()
        return web.json_response(await access.may_follow(request))

    register = [probes(access), registering(Route("GET", "/follow", follow, Role.VIEWER, ""))]
    async with serving(access, register) as (_, session), asyncio.TaskGroup() as group:
        headers = await signed_in(session, "vera")
        go_on.set()
        async with session.get("/follow", headers=headers) as answer:
            assert await answer.json() is True
        go_on.clear()
        began.clear()
        following = group.create_task(session.get("/follow", headers=headers).__aenter__())
        await began.wait()
        write_web_config(tmp_path, basic_auth_users={})
        access.take(read_policy(settings_with(tmp_path)))
        go_on.set()
        async with await following as answer:
            assert await answer.json() is False


async def test_following_does_not_keep_anybody_signed_in(tmp_path: Path, clock: Clock) -> None:
    """Browsers send no Sec-Fetch-Mode over plain HTTP."""
    write_web_config(tmp_path)
    access = access_of(settings_with(tmp_path), clock)

    async def follow(request: web.Request) -> web.Response:
        return web.json_response(await access.may_follow(request))

    register = [probes(access), registering(Route("GET", "/follow", follow, Role.VIEWER, ""))]
    async with serving(access, register) as (_, session):
        headers = await signed_in(session, "vera") | {"Accept": "text/event-stream"}
        idle = access.policy.settings.session.total_seconds()
        for passed, status in ((idle - 1, 200), (1, 401)):
            clock.now += passed
            async with session.get("/follow", headers=headers) as answer:
                assert answer.status == status


@pytest.mark.parametrize(
    ("headers", "data", "status"),
    [
        ({"Origin": "http://["}, b"", 403),
        ({"Origin": "http://[::1"}, b"", 403),
        ({"Content-Type": "application/x-www-form-urlencoded; charset=zzz"}, b"csrf=x", 400),
        ({"Content-Type": "application/x-www-form-urlencoded; charset=rot13"}, b"csrf=x", 400),
    ],
)
async def test_junk_in_headers_is_no_error_of_ours(
    site: Site, headers: dict[str, str], data: bytes, status: int
) -> None:
    browser = await signed_in(site.session, "olga")
    assert await site.status("POST", "/api/v1/operator", browser | headers, data=data) == status


async def test_nothing_secret_is_told(site: Site, tmp_path: Path) -> None:
    secrets = [*PASSWORDS.values(), *TOKENS.values(), "guess-1", *site.access.policy.web.users.values()]
    shown = [repr(site.access.policy), repr(vars(site.access)), repr(settings_with(tmp_path).redacted())]
    with capture_logs() as logs:
        cookie = await signed_in(site.session, "ada")
        for headers in (
            basic("ada", "guess-1"),
            bearer("guess-1"),
            basic("guess-1", "of-ada"),
            bearer(TOKENS["viewer"]),
        ):
            for path in ("/api/v1/admin", "/look", "/nowhere"):
                async with site.session.get(path, headers=headers) as answer:
                    shown += [await answer.text(), str(answer.headers)]
    shown.append(str(logs))
    assert {"signed_in", "sign_in_failed"} <= {entry["event"] for entry in logs}
    secrets.append(cookie["Cookie"].partition("=")[2])
    assert [one for one in secrets if any(one in text for text in shown)] == []
