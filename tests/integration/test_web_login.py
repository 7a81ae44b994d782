"""The page where browsers are signed in and out, made of all parts of the daemon, none of which is started."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from daemon.app import Custode
from daemon.web.access.cookies import COOKIE, HOST_COOKIE
from daemon.web.openapi import PATH
from tests.access_site import PASSWORDS, TOKENS, access_of, bearer, settings_with, write_web_config

ALLOWED = 10  # failures in a minute, by default

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """The whole page as the daemon makes it, of which no part was started."""
    write_web_config(tmp_path)
    settings = settings_with(tmp_path)
    custode = Custode(settings)
    acting = custode._make_acting()
    custode._access = access_of(settings)
    server = custode._make_server(acting, custode._make_telling(acting))
    await server.start("127.0.0.1", 0)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(server.address, cookie_jar=jar, headers=HTML) as session:
        yield session
    await server.stop()


async def test_signing_in_and_out(page: aiohttp.ClientSession) -> None:
    async with page.get("/actions?state=running") as answer:
        assert (answer.url.path, answer.url.query["next"]) == ("/login", "/actions?state=running")
        text = await answer.text()
        assert answer.status == 200
        assert 'value="/actions?state=running"' in text
    sent = {"user": "olga", "password": "of-olga", "next": "/actions?state=running"}
    async with page.post("/login", data=sent, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/actions?state=running")
        cookie = answer.headers["Set-Cookie"]
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
        assert "Secure" not in cookie
        mine = {"Cookie": f"{COOKIE}={answer.cookies[COOKIE].value}"}
    async with page.get("/login?next=/rules", headers=mine, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/rules")


@pytest.mark.parametrize(
    "sent",
    [
        {"user": "olga", "password": "wrong"},
        {"user": "nobody", "password": "of-olga"},
        {"user": "", "password": ""},
        {"token": "wrong"},
        {"user": "olga", "password": "x" * 4000},
        {"user": "olga", "password": "\x00"},
    ],
)
async def test_who_cannot_sign_in_is_told_and_may_try_again(page: aiohttp.ClientSession, sent: dict[str, str]) -> None:
    for number in range(ALLOWED + 1):
        async with page.post("/login", data=sent | {"next": "/rules"}, allow_redirects=False) as answer:
            text = await answer.text()
            assert answer.status == (401 if number < ALLOWED else 429)
            assert 'role="alert"' in text
            assert 'value="/rules"' in text
            assert "Set-Cookie" not in answer.headers
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize("where", ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)"])
async def test_signing_in_leads_nobody_elsewhere(page: aiohttp.ClientSession, where: str) -> None:
    async with page.get("/login", params={"next": where}) as answer:
        assert "evil.example" not in re.findall(r'name="next" value="([^"]*)"', await answer.text())
    async with page.post("/login", data={"token": TOKENS["viewer"], "next": where}, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/")
        mine = {"Cookie": f"{COOKIE}={answer.cookies[COOKIE].value}"}
    async with page.get("/login", params={"next": where}, headers=mine, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/")


async def test_a_link_elsewhere_leads_in_although_the_cookie_is_strict(page: aiohttp.ClientSession) -> None:
    """The browser keeps the cookie back, and sends it when the page of the form loads itself once more."""
    async with page.get("/login?next=/rules", headers={"Sec-Fetch-Site": "cross-site"}) as answer:
        assert answer.headers["Refresh"] == "0; url=/login?next=/rules"
    async with page.get("/login?next=/rules", headers={"Sec-Fetch-Site": "same-origin"}) as answer:
        assert "Refresh" not in answer.headers


async def test_behind_a_proxy_with_tls_the_cookie_is_for_tls_only(page: aiohttp.ClientSession) -> None:
    origin = {"Origin": f"https://{page._base_url.authority}"}  # type: ignore[union-attr]
    async with page.post("/login", data={"token": TOKENS["viewer"]}, headers=origin, allow_redirects=False) as answer:
        assert answer.status == 303
        assert {"Secure", "Path=/"} <= set(answer.headers["Set-Cookie"].split("; "))
        mine = {"Cookie": f"{HOST_COOKIE}={answer.cookies[HOST_COOKIE].value}; {COOKIE}=planted"}
    async with page.get("/login", headers=mine, allow_redirects=False) as answer:
        assert answer.status == 303


async def test_a_form_in_a_charset_that_nobody_knows(page: aiohttp.ClientSession) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=zzz"}
    async with page.post("/login", data=b"token=x", headers=headers) as answer:
        assert answer.status == 400


async def test_the_document_of_the_api_is_made_once(page: aiohttp.ClientSession) -> None:
    known = bearer(TOKENS["viewer"])
    async with page.get(PATH, headers=known) as first, page.get(PATH, headers=known) as second:
        assert first.status == 200
        assert await first.read() == await second.read()
        tag = first.headers["ETag"]
    async with page.get(PATH, headers=known | {"If-None-Match": tag}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")
    async with page.get(PATH, headers=known | {"If-None-Match": '"other"'}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_nobody_is_signed_in_by_a_page_of_another_site(page: aiohttp.ClientSession, site: str) -> None:
    headers = {"Sec-Fetch-Site": site}
    async with page.post("/login", data={"token": TOKENS["viewer"]}, headers=headers, allow_redirects=False) as answer:
        assert answer.status == 403
        assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("path", ["..%2fweb.yml", "%2e%2e/web.yml", "..%5cweb.yml", "vendor/../../login.py", "%00"])
async def test_files_of_the_page_are_those_and_no_others(page: aiohttp.ClientSession, path: str) -> None:
    async with page.get(URL(f"{page._base_url}".rstrip("/") + f"/static/{path}", encoded=True)) as answer:
        assert answer.status == 404


async def test_a_browser_is_signed_in_anew_by_a_new_session(page: aiohttp.ClientSession) -> None:
    old = await sign_in(page, "olga")
    planted = {"Cookie": f"{COOKIE}=planted"}
    async with page.post("/login", data={"token": TOKENS["viewer"]}, headers=planted, allow_redirects=False) as answer:
        assert answer.status == 303
        assert answer.cookies[COOKIE].value not in {"planted", old}
    async with page.get("/rules", headers={"Cookie": f"{COOKIE}={old}"}) as answer:
        token = re.findall(r'name="csrf" value="(\w+)"', await answer.text())[0]
    async with page.post("/logout", headers={"Cookie": f"{COOKIE}={old}"}, allow_redirects=False) as answer:
        assert answer.status == 403
    async with page.post(
        "/logout", data={"csrf": token}, headers={"Cookie": f"{COOKIE}={old}"}, allow_redirects=False
    ) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/login")
        assert f'{COOKIE}=""' in answer.headers["Set-Cookie"]
    async with page.get("/api/v1/actions", headers={"Cookie": f"{COOKIE}={old}"}) as answer:
        assert answer.status == 401


async def sign_in(page: aiohttp.ClientSession, user: str) -> str:
    async with page.post("/login", data={"user": user, "password": PASSWORDS[user]}, allow_redirects=False) as answer:
        assert answer.status == 303
        return answer.cookies[COOKIE].value
