"""What people do with the page, in a real browser: the whole story of a trouble, and what must work for everybody."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlencode

import psycopg
import pytest
from playwright.sync_api import Locator, Page, expect
from psycopg import sql

from tests.acceptance.browser import MILLISECONDS, SECONDS, Tabs, needs_chromium, sign_in, waiting_run
from tests.acceptance.conftest import RunningDemo, until

pytestmark = [*needs_chromium]
INDEX = "<img src=x onerror=alert(1)>"
DATABASE = "<b>x</b>"
SUMMARY = f"index {INDEX} of production is invalid"
_FOCUS = """() => {
  const style = getComputedStyle(document.activeElement);
  return [document.activeElement.textContent.trim() || document.activeElement.name || "",
          style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0];
}"""


def superuser(demo: RunningDemo) -> psycopg.Connection:
    """To production."""
    place = demo.directory / "production"
    return psycopg.connect(f"host={place} dbname=pratikoai_prod user=postgres", autocommit=True)


@pytest.fixture(scope="module")
def production(demo: RunningDemo) -> Iterator[psycopg.Connection]:
    """With a database whose name is HTML, and soon with an index like that."""
    with superuser(demo) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))
        yield connection
        connection.execute(sql.SQL("drop index concurrently if exists {}").format(sql.Identifier(INDEX)))
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(DATABASE)))


def fail_to_build(connection: psycopg.Connection) -> None:
    """Leave an invalid index."""
    with suppress(psycopg.errors.UniqueViolation):
        connection.execute(
            sql.SQL("create unique index concurrently {} on messages (role)").format(sql.Identifier(INDEX))
        )


def standing(page: Page) -> Locator:
    """Where the run stands that it shows."""
    return page.locator("#run .lead").first


def untouched(page: Page) -> None:
    """From here on it must not be loaded anew."""
    page.evaluate("window.untouched = true")


def followed(page: Page) -> None:
    assert page.evaluate("window.untouched") is True, "it was loaded anew"


def test_trouble_appears_is_judged_and_mended_while_somebody_follows(
    demo: RunningDemo, tabs: Tabs, production: psycopg.Connection
) -> None:
    operator, follower = tabs.open(signed_in=True), tabs.open("/alerts")
    untouched(follower)

    # the trouble is shown
    fail_to_build(production)
    for text in (SUMMARY, "drop_invalid_index waits for 1 approval"):
        row = follower.get_by_role("row").filter(has_text=SUMMARY)
        expect(row).to_contain_text(text, timeout=MILLISECONDS)
    followed(follower)
    operator.goto("/")
    expect(operator.get_by_role("row", name="production").locator("td.broken").first).to_be_visible()
    operator.get_by_role("link", name="alerts firing").click()
    operator.get_by_role("link", name=SUMMARY).click()

    # its plan is read
    expect(operator.get_by_role("heading", level=1)).to_have_text(SUMMARY)
    operator.locator("#alert").get_by_role("link", name="waiting").click()
    expect(operator.get_by_role("heading", level=1)).to_have_text("drop_invalid_index on production")
    expect(operator.locator("pre")).to_contain_text(f'DROP INDEX CONCURRENTLY public."{INDEX}"')
    follower.goto(operator.url)
    untouched(follower)
    expect(follower.locator("#answer")).to_contain_text("Sign in as an operator to act.")
    expect(follower.get_by_role("button")).to_have_count(0)

    # approved; it waits for who reads the table
    with superuser(demo) as reader, reader.transaction():
        reader.execute("select from messages limit 1")
        operator.get_by_role("button", name="Approve this plan").click()
        expect(operator.get_by_role("status").first).to_contain_text("Approved")
        for page in (operator, follower):
            expect(standing(page)).to_contain_text("running", timeout=MILLISECONDS)
            expect(page.locator("#run")).to_contain_text(f'1/1 drop pratikoai_prod: public."{INDEX}"')

    # fixed, with evidence
    for page in (operator, follower):
        expect(standing(page)).to_contain_text("fixed", timeout=MILLISECONDS)
        expect(page.get_by_role("region", name="Figures before and after").get_by_role("row")).not_to_have_count(0)
        expect(page.locator("#ledger")).to_contain_text("approved")
        assert page.locator("img, main b").count() == 0, "a name is taken for HTML"
    followed(follower)
    operator.locator("#run").get_by_role("link", name="IndexInvalid").click()
    expect(operator.locator("#alert")).to_contain_text("resolved", timeout=MILLISECONDS)
    expect(operator.get_by_role("region", name="Evidence")).to_be_visible()


def test_names_of_objects_are_text_wherever_they_are_shown(tabs: Tabs, production: psycopg.Connection) -> None:
    page = tabs.open("/environments/production", signed_in=True)
    page.goto("/environments/production")
    expect(page.locator("#databases")).to_contain_text(DATABASE, timeout=MILLISECONDS)
    assert page.locator("img, main b").count() == 0
    said = {
        "/": "q",
        "/ledger": "person",
        "/rules": "name",
        "/actions/new?environment=qa&action=drop_invalid_index": "p.indexrelname",
        "/silences": "indexrelname",
        "/login": "next",
    }
    for path, field in said.items():
        page.goto(f"{path}{'&' if '?' in path else '?'}{field}=%22%3E%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
        assert page.locator("img").count() == 0, path


def test_without_javascript_the_same_forms_do_the_same(tabs: Tabs) -> None:
    page = tabs.open("/actions", java_script_enabled=False)
    expect(page.get_by_role("button", name="Approve cleanup")).to_have_count(0)
    sign_in(page, tabs.demo)
    page.goto("/actions")
    expect(page.get_by_role("button", name="Approve cleanup on production").first).to_be_visible()
    page.get_by_role("link", name="Ask for an action").click()
    page.locator("[name=environment]").select_option("development")
    page.locator("[name=action]").select_option("analyze")
    page.get_by_role("button", name="Choose").click()
    page.get_by_role("button", name="Show the plan").click()
    expect(page.get_by_role("heading", name="The plan")).to_be_visible()
    page.get_by_label("Why").fill("to see that it works")
    page.get_by_role("button", name="Ask for it").click()
    expect(page.get_by_role("status").first).to_contain_text("Asked for.")

    def ended() -> bool:
        page.reload()
        return standing(page).filter(has_text=re.compile("fixed|not fixed|failed|refused")).count() > 0

    until(ended, "what was asked for has ended", SECONDS)
    expect(standing(page)).to_contain_text("fixed")

    page.goto("/silences?alertname=IndexUnused&environment=development")
    page.get_by_label("Why").fill("<i>for a test</i>")
    page.get_by_role("button", name="Show what it hits").click()
    expect(page.get_by_text("No alert has all of these labels now.")).to_be_visible()
    page.get_by_role("button", name="Silence", exact=True).click()
    expect(page.locator("#active")).to_contain_text("<i>for a test</i>")
    page.get_by_role("button", name="End it now").click()
    expect(page.locator("#active")).to_contain_text("Nothing is silenced.")


def test_a_keyboard_reaches_what_matters_and_shows_where_it_is(tabs: Tabs) -> None:
    page = tabs.open(waiting_run(tabs.demo), signed_in=True)
    page.keyboard.press("Tab")
    assert page.evaluate(_FOCUS) == ["Skip to the content", True]
    assert page.locator(".skip").bounding_box()["x"] >= 0, "it is not seen"  # type: ignore[index]
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    reached = []
    while "Approve this plan" not in reached:
        page.keyboard.press("Tab")
        name, seen = page.evaluate(_FOCUS)
        assert seen, f"the focus on {name!r} is not seen"
        reached.append(name)
        assert len(reached) < 25, reached
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("g")
    page.keyboard.press("a")
    expect(page.get_by_role("heading", level=1)).to_have_text("Alerts")


def test_who_has_signed_out_may_look_and_nothing_else(tabs: Tabs) -> None:
    run = waiting_run(tabs.demo)
    page = tabs.open(run, signed_in=True)
    form = page.locator("form[action$='/approve']")
    fields = {name: form.locator(f"[name={name}]").input_value() for name in ("csrf", "digest")}
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.goto(run)
    expect(page.get_by_role("button")).to_have_count(0)
    assert page.context.cookies() == []
    # as somebody who has kept the cookie and the form
    sent = page.request.post(
        f"{run}/approve",
        data=urlencode(fields),
        headers={
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": f"{cookie['name']}={cookie['value']}",
            "Origin": tabs.demo.address,
        },
        max_redirects=0,
    )
    assert sent.status in (401, 403)
    page.goto(run)
    expect(standing(page)).to_contain_text("waiting for approval")
