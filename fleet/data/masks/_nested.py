"""Masks within values: the elements of arrays, the members of JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from fleet.data.decisions import Decision, Do

Mask = Callable[[str], str]
_ELEMENT = re.compile(r'"((?:[^"\\]|\\.)*)"|((?:[^{},"\\\s]|\\.)(?:[^{},"\\]|\\.)*)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SPECIAL = re.compile(r'(["\\])')
_BOUNDS = re.compile(r"(?:\[-?\d+:-?\d+\])+=")


def in_array(mask: Mask) -> Mask:
    """The mask of every element of an array, of any dimensions, as PostgreSQL writes it."""

    def element(match: re.Match[str]) -> str:
        quoted, bare = match.groups()
        if quoted is None and bare.upper() == "NULL":
            return "NULL"
        value = _ESCAPED.sub(r"\1", bare if quoted is None else quoted)
        return '"' + _SPECIAL.sub(r"\\\1", mask(value) if value else "") + '"'

    def masked(value: str) -> str:
        bounds = _BOUNDS.match(value)
        begin = bounds.end() if bounds else 0
        if set(_ELEMENT.sub("", value[begin:])) - set("{},"):
            raise ValueError("an array is written in a way that is not known")
        return value[:begin] + _ELEMENT.sub(element, value[begin:])

    return masked


def in_json(paths: Mapping[str, Decision], mask_of: Callable[[Decision], Mask], otherwise: Mask) -> Mask:
    """Only what a path names is left, masked as decided; `otherwise` is for text that is no JSON.

    A path is the names of members, joined by dots, `*` for any; the elements of arrays are looked into and not named.
    """
    tree: dict[str, Any] = {}
    for path, decision in paths.items():
        *parents, last = path.split(".")
        node = tree
        for step in parents:
            node = node.setdefault(step, {})
        node[last] = _leaf(decision, mask_of)

    def masked(value: str) -> str:
        try:
            content = json.loads(value, parse_float=_finite)
        except (ValueError, RecursionError):
            return otherwise(value)
        return json.dumps(_pruned(content, tree))

    return masked


def _finite(text: str) -> float:
    return number if math.isfinite(number := float(text)) else 0.0


def _pruned(content: Any, node: Any) -> Any:
    if callable(node):
        return node(content)
    if isinstance(content, list):
        return [_pruned(each, node) for each in content]
    if not isinstance(content, dict):
        return None  # a value where members were expected: nobody decided on it
    return {
        name: _pruned(part, node[step]) for name, part in content.items() if (step := _step(name, node)) is not None
    }


def _step(name: str, node: Mapping[str, Any]) -> str | None:
    return name if name in node else "*" if "*" in node else None


def _leaf(decision: Decision, mask_of: Callable[[Decision], Mask]) -> Callable[[Any], Any]:
    if decision.do is Do.KEEP:
        return lambda content: content
    if decision.do is not Do.MASK:
        return lambda _: None
    mask = mask_of(decision)

    def masked(content: Any) -> Any:
        match content:
            case None | "":
                return content
            case list():
                return [masked(each) for each in content]
            case str():
                return mask(content)
        return mask(json.dumps(content))

    return masked
