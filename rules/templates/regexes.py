"""reReplaceAll and match: RE2's regular expressions, unanchored, with Go's rules for replacing."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

import re2

from rules.templates.printing import LONGEST
from rules.templates.values import ExpansionError

_REFERENCE = re.compile(r"\$(?:(?P<dollar>\$)|(?P<plain>\w+)|\{(?P<braced>\w+)\})")
_MESSAGES = {
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid repetition size": "invalid repeat count",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
    "trailing \\": "trailing backslash at end of expression",
}
_MATCH_COST = 4
_OPTIONS = re2.Options()
_OPTIONS.log_errors = False


@lru_cache(maxsize=128)
def _compile(pattern: str) -> re2._Regexp[str]:
    try:
        return re2.compile(pattern, _OPTIONS)
    except re2.error as error:
        said = error.args[0] if error.args else ""
        said = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        reason, _, piece = said.partition(": ")
        raise ExpansionError(f"error parsing regexp: {_MESSAGES.get(reason, reason)}: `{piece}`") from error


def _encodable(text: str) -> str:
    """Lone surrogates stand for bytes that are no UTF-8; to a regular expression these are U+FFFD."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def matches(pattern: str, text: str) -> bool:
    return _compile(_encodable(pattern)).search(_encodable(text)) is not None


def replace_all(pattern: str, replacement: str, text: str, spend: Callable[[int], None]) -> str:
    """Regexp.ReplaceAllString: $1 and ${name} in the replacement are the groups, $$ is a dollar sign. Each match costs
    what `spend` takes."""
    pattern, text = _encodable(pattern), _encodable(text)
    try:
        compiled = _compile(pattern)
    except ExpansionError as error:
        raise ExpansionError(f"regexp: Compile(`{pattern}`): {error}") from error
    parts = _parts(replacement, compiled.groupindex, compiled.groups)
    out: list[str] = []
    size = end = 0
    for match in compiled.finditer(text):
        spend(_MATCH_COST)
        out.append(text[end : match.start()])
        if match.end() > end or match.start() == 0:  # not an empty match at the end of the one before
            out += [part if isinstance(part, str) else match[part] or "" for part in parts]
            size += sum(map(len, out[-len(parts) :])) if parts else 0
            if size > LONGEST:
                raise ExpansionError(f"a text is longer than {LONGEST} characters")
        end = match.end()
    return "".join((*out, text[end:]))


def _parts(replacement: str, names: dict[str, int], groups: int) -> list[str | int]:
    """The replacement as texts and numbers of groups."""
    parts: list[str | int] = []
    end = 0
    for match in _REFERENCE.finditer(replacement):
        parts.append(replacement[end : match.start()])
        end = match.end()
        name = match["plain"] or match["braced"]
        if match["dollar"]:
            parts.append("$")
        elif name.isascii() and name.isdigit() and (name[0] != "0" or name == "0") and len(name) < 9:
            parts.append(int(name) if int(name) <= groups else "")
        else:
            parts.append(names.get(name, ""))
    parts.append(replacement[end:])
    return [part for part in parts if part != ""]
