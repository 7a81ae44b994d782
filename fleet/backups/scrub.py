"""Take secrets out of what servers and programs say before it is kept or shown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

_IN_URL = re.compile(r"(\w://[^/\s:@]*:)[^/\s]*@")
_IN_SETTING = re.compile(
    r"(\b\w*(?:password|passwd|pwd|secret|token)\w*['\"]?\s*[=:]\s*)('[^']*'|\"[^\"]*\"|[^\s,;&]+)", re.IGNORECASE
)
_MASK = "***"


def scrub(text: str, known: Iterable[str] = ()) -> str:
    """Mask the `known` secrets (plain and percent-encoded), passwords of URLs and `password=...` settings."""
    for secret in known:
        for spelling in (secret, quote(secret, safe="")):
            if spelling:
                text = text.replace(spelling, _MASK)
    text = _IN_URL.sub(rf"\1{_MASK}@", text)
    return _IN_SETTING.sub(rf"\1{_MASK}", text)
