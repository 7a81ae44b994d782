"""What a scalar of YAML means, by the rules of Go's yaml package, which are neither YAML 1.1 nor 1.2."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

from rules.files.documents import Node, Scalar

_PREFIX = "tag:yaml.org,2002:"
_WORDS: Mapping[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_OLD_FLAGS = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "off", "Off", "OFF"), False),
}
_NULLS = frozenset(word for word, meant in _WORDS.items() if meant is None)
_INTEGER = re.compile(r"([+-]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))", re.ASCII)
_BASES = (16, 2, 8, 10)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?", re.ASCII)
_LONGEST = 400  # characters of a number
_TYPES = {"null": "null", "bool": "bool", "int": "int", "float": "float", "timestamp": "timestamp"}

Meaning = bool | int | float | str | None


class MismatchError(ValueError):
    """A scalar cannot be what a field wants."""


def is_null(node: Node | None) -> bool:
    """Also a field that is not there is null: Go's zero value."""
    if node is None:
        return True
    if not isinstance(node, Scalar) or node.text not in _NULLS:
        return False
    return node.plain if node.tag is None else _short(node.tag) == "!!null"


def is_merge(node: Node) -> bool:
    if not isinstance(node, Scalar) or node.text != "<<":
        return False
    return node.plain if node.tag in (None, "!") else _short(node.tag) == "!!merge"


def read_text(node: Scalar) -> str:
    """Raises MismatchError."""
    if node.tag is None:
        return "" if node.plain and node.text in _NULLS else node.text
    meant = _meaning(node)
    if meant is None:
        return ""
    return meant if isinstance(meant, str) and _short(node.tag) == "!!binary" else node.text


def read_whole(node: Scalar) -> int:
    """A 64-bit integer; fractions are cut off, as Go does. Raises MismatchError."""
    meant = _meaning(node)
    if isinstance(meant, int | float) and not isinstance(meant, bool) and -(2**63) <= meant < 2**63:
        return int(meant)
    raise MismatchError(f"cannot unmarshal {describe(node)} into int")


def read_number(node: Scalar) -> float:
    """Raises MismatchError."""
    meant = _meaning(node)
    if isinstance(meant, int | float) and not isinstance(meant, bool):
        return float(meant)
    raise MismatchError(f"cannot unmarshal {describe(node)} into float64")


def read_flag(node: Scalar) -> bool:
    """Raises MismatchError."""
    meant = _meaning(node)
    if isinstance(meant, bool):
        return meant
    if node.plain and node.tag is None and node.text in _OLD_FLAGS:
        return _OLD_FLAGS[node.text]
    raise MismatchError(f"cannot unmarshal {describe(node)} into bool")


def describe(node: Node) -> str:
    """A node as Go's errors show it."""
    if not isinstance(node, Scalar):
        return "!!map" if hasattr(node, "pairs") else "!!seq"
    tag = _short(node.tag) if node.tag else f"!!{_kind(_plain(node.text))}" if node.plain else "!!str"
    text = node.text if len(node.text) <= 10 else f"{node.text[:7]}..."
    return f"{tag} `{text}`"


def _short(tag: str | None) -> str:
    return f"!!{tag.removeprefix(_PREFIX)}" if tag and tag.startswith(_PREFIX) else tag or ""


def _meaning(node: Scalar) -> Meaning:
    if node.tag is None:
        return _plain(node.text) if node.plain else node.text
    name = _short(node.tag).removeprefix("!!")
    if name == "binary":
        return _binary(node.text)
    if name not in _TYPES:
        return node.text
    meant = _plain(node.text)
    kind = _kind(meant)
    if name == kind or (name, kind) == ("float", "int"):
        return float(meant) if name == "float" and isinstance(meant, int) else meant
    if name == "timestamp" and _TIMESTAMP.fullmatch(node.text):
        return node.text
    raise MismatchError(f"cannot decode !!{kind} `{node.text}` as a !!{name}")


def _plain(text: str) -> Meaning:
    """What unquoted text means. A timestamp stays text: no field wants one."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789" or len(text) > _LONGEST or _TIMESTAMP.fullmatch(text):
        return text
    digits = text if text[0] == "." else text.replace("_", "")
    match = _INTEGER.fullmatch(digits)
    if match:
        number = next(int(part, base) for part, base in zip(match.groups()[1:], _BASES, strict=True) if part)
        number = -number if match[1] == "-" else number
        if -(2**63) <= number < 2**64:
            return number
    return float(digits) if _FLOAT.fullmatch(digits) else text


def _kind(meant: Meaning) -> str:
    for kind, name in ((bool, "bool"), (int, "int"), (float, "float"), (str, "str")):
        if isinstance(meant, kind):
            return name
    return "null"


def _binary(text: str) -> str:
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise MismatchError(f"!!binary value contains no base64 of UTF-8: {error}") from error
