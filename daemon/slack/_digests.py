"""Many things in one message: a storm of alerts, the promises of a day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slack_sdk.models.blocks import Block, ContextBlock

from daemon.slack.blocks import SIGNS, Shown, attachment, markdown, section
from daemon.slack.news import DigestNews
from daemon.slack.store import Folded
from daemon.slack.text import line, moment
from daemon.slack.thread import Facts, Stage
from daemon.status import PROMISES

_CELLS: Mapping[str, str] = {
    "kept": ":large_green_circle:",
    "pending": ":large_yellow_circle:",
    "broken": ":red_circle:",
    "unknown": ":grey_question:",
    "not promised": "–",
}


def storm(facts: Facts, folded: Sequence[Folded]) -> Shown:
    """One message instead of many."""
    total = sum(each.count for each in folded)
    still = sum(each.count for each in folded if each.stage not in {Stage.RESOLVED, Stage.FIXED})
    text = f":cyclone: *Many alerts at once*: {total}, of which {still} still need attention"
    lines = [
        f"{SIGNS[Stage(one.stage)][0]} {one.count} × {line(one.title, 80)} — {line(one.environment, 60)}: {one.stage}"
        for one in folded[:20]
    ]
    if len(folded) > len(lines):
        lines.append(f"and {len(folded) - len(lines)} kinds more")
    note = f"since {moment(facts.begun_at)}; what needs an approval is asked in a thread of its own"
    blocks: list[Block] = [section("\n".join(lines) or "–"), ContextBlock(elements=[markdown(note)])]
    return Shown(text, (attachment("#d72b3f" if still else "#2eb67d", blocks, text),))


def digest(news: DigestNews) -> Shown:
    """The day's table of promises: green or not, with the numbers."""
    titles = {promise.name: promise.title for promise in PROMISES}
    broken = sum(cell.state in {"broken", "unknown"} for row in news.rows.values() for cell in row)
    verdict = "all kept" if not broken else f"{broken} not kept"
    text = f":clipboard: *The promises today*: {verdict}, {news.firing} alert{'' if news.firing == 1 else 's'} firing"
    blocks: list[Block] = []
    for environment, cells in list(news.rows.items())[:40]:
        told = [
            f"{_CELLS.get(cell.state, '–')} {titles.get(cell.promise, cell.promise)}: {line(cell.text, 160)}"
            for cell in cells
            if cell.state != "not promised"
        ]
        blocks.append(section(f"*{line(environment, 80)}*\n" + ("\n".join(told) or "nothing is promised")))
    if len(news.rows) > 40:
        blocks.append(section(f"and {len(news.rows) - 40} environments more: custode status shows them"))
    return Shown(text, (attachment("#d72b3f" if broken else "#2eb67d", blocks, text),))
