"""Makes the pictures of the README, in the folder CUSTODE_PICTURES: `make pictures`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.request
from io import StringIO
from pathlib import Path

import pytest
from playwright.sync_api import expect
from rich.console import Console
from rich.text import Text

from tests.acceptance.browser import Tabs, api, fixed_run, needs_chromium, token, waiting_run
from tests.acceptance.conftest import CUSTODE, RunningDemo, until
from tests.acceptance.test_demo import LASTING

pytestmark = [
    *needs_chromium,
    pytest.mark.skipif("CUSTODE_PICTURES" not in os.environ, reason="CUSTODE_PICTURES names no folder"),
    pytest.mark.skipif(shutil.which("pngquant") is None, reason="needs Debian's pngquant"),
]
FOLDER = Path(os.environ.get("CUSTODE_PICTURES", "."))
WIDTH, COLUMNS = 1280, 132
LARGEST = 150_000  # bytes


def measure_recall(demo: RunningDemo) -> None:
    """So that there is a curve to be seen."""
    asked = urllib.request.Request(
        f"{demo.address}/api/v1/actions",
        json.dumps({"action": "probe_recall", "environment": "qa"}).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {token(demo)}"},
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:
        run = json.load(answer)["data"]["run"]["id"]
    until(lambda: api(demo, f"actions/{run}")["run"]["state"] == "ended", "recall is measured")


def test_pages(demo: RunningDemo, tabs: Tabs) -> None:
    until(lambda: demo.alerts() >= LASTING, "what nobody mends fires")
    FOLDER.mkdir(parents=True, exist_ok=True)
    fixed = fixed_run(demo)
    until(lambda: {"RestoreTestMissing"}.isdisjoint(name for _, name in demo.alerts()), "the restore tests are done")
    measure_recall(demo)
    page = tabs.open(fixed, signed_in=True, color_scheme="light")
    mended = page.locator("#run").get_by_role("link", name="VectorIndexBuiltOnTooFewRows").get_attribute("href")
    pages = {
        "fleet": ("/", "main", 1250),
        "environment": ("/environments/qa", "#vectors", 760),
        "alert": (mended or "", "main", 1000),
        "action": (waiting_run(demo), "main", 1250),
        "backups": ("/backups/production", "h2:text('Calendar')", 1000),
    }
    for name, (path, part, height) in pages.items():
        page.set_viewport_size({"width": WIDTH, "height": height})
        page.goto(path)
        if name == "environment":
            expect(page.locator("#vectors canvas").first).to_be_visible()
        page.locator(part).evaluate("part => part.scrollIntoView()")
        picture = FOLDER / f"{name}.png"
        page.screenshot(path=picture, animations="disabled")
        subprocess.run(["pngquant", "--force", "--ext", ".png", "--speed", "1", str(picture)], check=True)
        assert picture.stat().st_size < LARGEST, name


def test_terminal(demo: RunningDemo) -> None:
    until(lambda: demo.alerts() >= LASTING, "what nobody mends fires")
    FOLDER.mkdir(parents=True, exist_ok=True)
    told = subprocess.run(
        [str(CUSTODE), "status", "-c", str(demo.config)],
        env={**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    ).stdout
    console = Console(record=True, width=COLUMNS, file=StringIO())
    console.print(Text.from_ansi(told))
    # whoever looks at it shall not fetch letters from elsewhere
    drawn = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title="custode status"), flags=re.DOTALL)
    (FOLDER / "status.svg").write_text(drawn, encoding="utf-8")
    assert "production" in drawn
    assert "https://" not in drawn.replace("https://www.textualize.io", "")
