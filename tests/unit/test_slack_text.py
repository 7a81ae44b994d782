"""Hostile text in Slack, and the limits of its messages."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.slack.text import code, escape, line, mention, moment


@given(st.text(max_size=200), st.integers(2, 120))
def test_nothing_means_anything_and_nothing_is_too_long(text: str, limit: int) -> None:
    shown = escape(text, limit)
    assert len(shown) <= limit
    assert not set(shown) & set("<>")
    assert re.sub(r"&(amp|lt|gt);", "", shown).count("&") == 0


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("<!channel>", 300, "&lt;!channel&gt;"),
        ("a & b", 300, "a &amp; b"),
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("&&&", 11, "&amp;&amp;…"),
        ("&&", 5, "…"),
        ("a\x1b[31m\u202eb", 300, "a [31m b"),
    ],
)
def test_escaped(text: str, limit: int, shown: str) -> None:
    assert escape(text, limit) == shown


def test_one_line_and_code() -> None:
    assert line("a\n\tb") == "a b"
    assert code("a`b") == "`aˋb`"
    assert code("") == "` `"


@pytest.mark.parametrize(
    ("who", "written"),
    [
        ("U01ALICE", "<@U01ALICE>"),
        ("S01DBA", "<!subteam^S01DBA>"),
        ("here", "<!here>"),
        ("<!channel>", "&lt;!channel&gt;"),
    ],
)
def test_mentions(who: str, written: str) -> None:
    assert mention(who) == written


def test_a_moment_is_in_the_reader_s_time() -> None:
    assert moment(1_785_312_900.7) == "<!date^1785312900^{date_short_pretty} {time}|2026-07-29 08:15 UTC>"
