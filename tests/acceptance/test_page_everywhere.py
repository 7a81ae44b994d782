"""What holds of every page, in a real browser: links, narrow windows, dark ones, and what axe-core finds."""

from __future__ import annotations

import os
import re
from collections import deque
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import pytest
from playwright.sync_api import Browser, Page

from tests.acceptance.browser import Tabs, needs_chromium, pages, sign_in
from tests.acceptance.conftest import RunningDemo

pytestmark = [*needs_chromium]
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
MOST_PAGES = 600  # what the demonstration has is far less: an address that grows from page to page is a fault
AXE = Path(os.environ.get("CUSTODE_AXE") or Path(__file__).parents[2] / ".ci/node_modules/axe-core") / "axe.min.js"


class Links(HTMLParser):
    """The addresses that a page leads to, and the names of its parts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.elsewhere: list[dict[str, str | None]] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.names.add(said.get("id") or "")
        address = said.get("src" if tag == "script" else "href") or ""
        if address.startswith("https://"):
            self.elsewhere.append(said)
        elif address and not address.startswith("data:"):
            self.addresses.append(address)


def test_every_link_leads_somewhere(tabs: Tabs) -> None:
    page = tabs.open(signed_in=True)
    seen, names = {"/"}, dict[str, set[str]]()
    parts: list[tuple[str, str, str]] = []  # from, to, part
    ahead = deque(["/"])
    while ahead:
        here = ahead.popleft()
        answer = page.request.get(here, max_redirects=0)
        assert answer.status < 400, here
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        links = Links(answer.text())
        names[here] = links.names
        for address in links.addresses:
            there, part = urldefrag(urljoin(here, address))
            if part:
                parts.append((here, there, unquote(part)))
            if there not in seen:
                seen.add(there)
                ahead.append(there)
        assert all("noreferrer" in (link.get("rel") or "") for link in links.elsewhere), here
        assert len(seen) < MOST_PAGES, sorted(seen)
    assert {(here, there, part) for here, there, part in parts if part not in names[there]} == set()
    assert {re.sub(r"/[^/?]*\d[^/?]*", "/*", path.partition("?")[0]) for path in seen} >= {
        "/", "/environments/qa", "/environments/qa/schema", "/alerts", "/alerts/*", "/actions", "/actions/*",
        "/actions/new", "/backups", "/backups/production", "/rules", "/silences", "/ledger", "/configuration", "/stop",
    }  # fmt: skip


def test_no_page_is_wider_than_a_phone_or_light_where_dark_is_wanted(demo: RunningDemo, tabs: Tabs) -> None:
    page = tabs.open(signed_in=True, viewport=PHONE, color_scheme="dark", has_touch=True)
    for path in pages(demo):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert max(map(int, re.findall(r"\d+", ground)[:3])) < 64, path


@pytest.mark.skipif(not AXE.exists(), reason="needs npm ci --prefix .ci")
def test_axe_finds_nothing(demo: RunningDemo, browser: Browser) -> None:
    # the policy for content is what keeps a script like this one away
    context = browser.new_context(base_url=demo.address, bypass_csp=True)
    context.add_init_script(path=AXE)
    page = context.new_page()
    found = _axe(page, "/login") + _axe(page, "/nothing")
    sign_in(page, demo)
    for path in pages(demo):
        found += _axe(page, path)
    context.close()
    assert found == []


def _axe(page: Page, path: str) -> list[str]:
    """All of its rules on a desk by day and on a phone by night, those for colours the other way round as well."""
    page.goto(path)
    found = list[str]()
    colours = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
    for size, scheme, only in (
        (DESK, "light", None), (PHONE, "dark", None), (DESK, "dark", colours), (PHONE, "light", colours),
    ):  # fmt: skip
        page.set_viewport_size(size)  # type: ignore[arg-type]
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        options = {"resultTypes": ["violations"]} | ({"runOnly": only} if only else {})
        for fault in page.evaluate("options => axe.run(document, options)", options)["violations"]:
            where = fault["nodes"][0]["html"][:200]
            found.append(f"{path} {size['width']} {scheme}: {fault['impact']} {fault['id']}: {fault['help']}: {where}")
    return found
