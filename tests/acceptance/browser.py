"""Debian's Chromium: tabs that note whatever a page should not do, and what the demonstration has to look at."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, sync_playwright

from tests.acceptance.conftest import RunningDemo, until

CHROMIUM = "/usr/bin/chromium"
_ARGUMENTS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu")
SECONDS = 60.0  # the patience of every wait
MILLISECONDS = SECONDS * 1000
needs_chromium = (
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which(CHROMIUM) is None, reason="needs Debian's chromium"),
)


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_ARGUMENTS))
        yield browser
        browser.close()


@dataclass
class Tabs:
    """Each has a context of its own, as if it were another person's browser."""

    browser: Browser
    demo: RunningDemo
    faults: list[str] = field(default_factory=list)
    _contexts: list[BrowserContext] = field(default_factory=list)

    def open(self, path: str = "/", *, signed_in: bool = False, **options: Any) -> Page:
        """A new one. What is said on its console, a dialog, and a request to elsewhere are `faults`."""
        context = self.browser.new_context(base_url=self.demo.address, **options)
        self._contexts.append(context)
        context.set_default_timeout(MILLISECONDS)
        context.on("console", lambda said: self.faults.append(f"console of {said.page and said.page.url}: {said.text}"))
        context.on("weberror", lambda error: self.faults.append(f"error: {error.error}"))
        context.on("dialog", self._refuse)
        context.on("request", lambda request: self._left(request.url))
        page = context.new_page()
        if signed_in:
            sign_in(page, self.demo)
        page.goto(path)
        return page

    def _refuse(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _left(self, url: str) -> None:
        if not url.startswith((f"{self.demo.address}/", "data:")):
            self.faults.append(f"request to {url}")

    def close(self) -> None:
        for context in self._contexts:
            context.close()


def token(demo: RunningDemo) -> str:
    """With which whoever runs the demonstration signs in: it is printed."""
    printed = until(lambda: re.search(r"/login with the token (\S+)", "\n".join(demo.lines)), "the token is printed")
    return str(printed[1])


def sign_in(page: Page, demo: RunningDemo) -> None:
    page.goto("/login")
    page.get_by_label("Token").fill(token(demo))
    page.get_by_role("button", name="Sign in with a token").click()
    page.get_by_role("button", name="Sign out").wait_for()


def api(demo: RunningDemo, path: str) -> Any:
    return json.loads(demo.get(f"/api/v1/{path}"))["data"]


def waiting_run(demo: RunningDemo) -> str:
    """The path of the run that deletes production's old rows, once people are asked for it."""

    def found() -> str | None:
        runs = api(demo, "actions?action=cleanup&environment=production&state=waiting")
        return runs[0]["id"] if runs else None

    return f"/actions/{until(found, 'the cleanup of production waits for approval', SECONDS)}"


def fixed_run(demo: RunningDemo) -> str:
    """The path of a run that has evidence, once it has ended."""

    def found() -> str | None:
        runs = api(demo, "actions?action=rebuild_vector_index&environment=qa")
        return next((run["id"] for run in runs if run["result"] == "fixed"), None)

    return f"/actions/{until(found, 'the vector index of qa is fixed', SECONDS)}"


def alert(demo: RunningDemo, environment: str, name: str) -> str:
    """The path of an alert, once it fires."""

    def found() -> str | None:
        firing = {(one["environment"], one["name"]): one["fingerprint"] for one in demo.status()["alerts"]}
        return firing.get((environment, name))

    return f"/alerts/{until(found, f'{name} of {environment} fires', SECONDS)}"


def pages(demo: RunningDemo) -> list[str]:
    """The path of one page of each kind."""
    return [
        "/",
        "/environments/qa",
        "/environments/production",
        "/environments/qa/schema",
        "/alerts",
        alert(demo, "production", "RowsPastRetention"),
        "/actions",
        waiting_run(demo),
        fixed_run(demo),
        "/actions/new",
        "/actions/new?environment=production&action=cleanup",
        "/backups",
        "/backups/production",
        "/rules",
        "/rules?state=firing",
        "/silences",
        "/silences?alertname=IndexUnused",
        "/ledger",
        "/configuration",
        "/configuration?environment=qa",
        "/stop",
        "/login",
    ]
