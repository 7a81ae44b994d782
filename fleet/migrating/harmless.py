"""Statements that are known to take no lock that others wait for.

What is not listed is not known: a procedure that is called, a text that is executed, an extension's own script (ALTER
EXTENSION ... UPDATE). A query is listed, whatever its functions do.
"""

from __future__ import annotations

import re

_CREATED = (
    r"(?:table|type|domain|schema|extension|sequence|function|procedure|aggregate|view|materialized|text\s+search"
    r"|statistics|cast|collation|conversion|operator|language|role|user|group|publication|event\s+trigger|foreign|server)"
)
_ALTERED = (
    r"(?:type|sequence|function|procedure|routine|aggregate|view|text\s+search|schema|default\s+privileges|role|user"
    r"|group|database|collation|conversion|operator|language|statistics|publication|event\s+trigger|server"
    r"|index\s+(?:if\s+exists\s+)?\S+\s+rename)"
)
_HARMLESS = re.compile(
    r"(?:set|reset|show|select|with|values|insert|merge|copy|comment|grant|revoke|security\s+label|notify|savepoint"
    rf"|release|analyze|create\s+(?:or\s+replace\s+)?(?:(?:temp|temporary|unlogged|recursive|trusted)\s+)*{_CREATED}"
    rf"|alter\s+{_ALTERED}|drop\s+(?:routine|{_CREATED}(?<!table))"
    r"|vacuum(?!.*\bfull\b)|reindex\s+(?:\([^)]*\)\s*)?\w+\s+concurrently)\b",
    re.IGNORECASE | re.DOTALL,
)
_DO = re.compile(
    r"do\s+(?:language\s+plpgsql\s+)?(?P<quote>\$\w*\$)(?P<body>.*)(?P=quote)(?:\s*language\s+plpgsql)?\s*$",
    re.IGNORECASE | re.DOTALL,
)
_TEXTS = re.compile(
    r"""--[^\n]*|/\*.*?\*/|\be'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*\"""", re.IGNORECASE | re.DOTALL
)
# what PL/pgSQL may do beside its own statements and queries; its writes may be long, and how long is not known
_VERBS = re.compile(
    r"\b(?:alter|call|cluster|create|delete|drop|execute|import|lock|reassign|refresh|reindex|truncate|update|vacuum)\b",
    re.IGNORECASE,
)


def is_harmless(text: str) -> bool:
    """Of one statement; a DO block is, where all that it does is."""
    if match := _DO.match(text):
        body = _TEXTS.sub("''", match["body"])
        return all(_HARMLESS.match(body, verb.start()) for verb in _VERBS.finditer(body))
    return _HARMLESS.match(text) is not None
