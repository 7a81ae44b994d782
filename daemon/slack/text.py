"""Text for Slack: hostile names are shown, never obeyed (a table may be called `<!channel>`)."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import accumulate

_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escape(text: str, limit: int = 3000) -> str:
    """`text` without meaning to Slack, at most `limit` characters long, whole entities only."""
    parts = [_ESCAPES.get(sign) or (sign if sign.isprintable() or sign == "\n" else " ") for sign in text]
    if sum(map(len, parts)) <= limit:
        return "".join(parts)
    ends = accumulate(map(len, parts))
    return "".join(part for part, end in zip(parts, ends, strict=True) if end < limit) + "…"


def line(text: str, limit: int = 300) -> str:
    """The same in one line."""
    return escape(" ".join(text.split()), limit)


def code(text: str, limit: int = 300) -> str:
    """`text` as code in one line; a backtick in it would end it."""
    return f"`{line(text.replace('`', chr(0x2CB)), limit) or ' '}`"


def moment(at: float) -> str:
    """Unix seconds in the reader's own time zone; programs that do not know it see UTC."""
    return f"<!date^{int(at)}^{{date_short_pretty}} {{time}}|{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC>"


def mention(who: str) -> str:
    """How Slack writes a user (U…, W…), a user group (S…), or `here`; anything else is plain text."""
    if who in {"here", "channel"}:
        return f"<!{who}>"
    if who[:1] == "S" and who.isalnum():
        return f"<!subteam^{who}>"
    if who[:1] in {"U", "W"} and who.isalnum():
        return f"<@{who}>"
    return line(who, 80)
