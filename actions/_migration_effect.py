"""What a migration does to a schema: found on a copy, looked for in the environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fleet.schema import Catalogue, SchemaObject

_TOLD = 5


@dataclass(frozen=True, slots=True)
class Effect:
    """`made` are objects that came or changed, as they are afterwards; `gone` those that went, as they were.

    `version` is the major version of the server that worded them: another one may say the same in other words.
    """

    made: tuple[SchemaObject, ...]
    gone: tuple[SchemaObject, ...]
    version: int

    @classmethod
    def between(cls, before: Catalogue, after: Catalogue) -> Effect:
        was, is_ = ({one.key: one for one in each.objects} for each in (before, after))
        made = tuple(one for key, one in is_.items() if key not in was or was[key].definition != one.definition)
        return cls(made, tuple(one for key, one in was.items() if key not in is_), after.version)

    @property
    def is_empty(self) -> bool:
        return not self.made and not self.gone

    def problems(self, catalogue: Catalogue) -> list[str]:
        """How the schema lacks the effect; empty where it is there whole."""
        there = {one.key: one for one in catalogue.objects}
        alike = catalogue.version == self.version
        found = [f"{_name(one)} is missing" for one in self.made if one.key not in there]
        found += [
            f"{_name(one)} is another one ({', '.join(_parts(one, there[one.key]))})"
            for one in self.made
            if alike and one.key in there and there[one.key].definition != one.definition
        ]
        return found + [f"{_name(one)} is still there" for one in self.gone if one.key in there]

    def told(self) -> str:
        """In words: what comes or changes, and what goes."""
        parts = []
        if self.made:
            parts.append(f"makes or changes {listed(map(_name, self.made))}")
        if self.gone:
            parts.append(f"removes {listed(map(_name, self.gone))}")
        return "; ".join(parts) or "changes nothing in the schema"

    def as_json(self) -> dict[str, Any]:
        made, gone = ([_as_json(one) for one in each] for each in (self.made, self.gone))
        return {"made": made, "gone": gone, "version": self.version}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Effect:
        made, gone = (tuple(SchemaObject(*one) for one in data[name]) for name in ("made", "gone"))
        return cls(made, gone, data["version"])


def listed(names: Iterable[str]) -> str:
    """The first few, and how many more there are."""
    found = list(names)
    more = f" and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
    return ", ".join(found[:_TOLD]) + more


def _name(one: SchemaObject) -> str:
    return f"{one.kind.replace('_', ' ')} {one.path}"


def _parts(wanted: SchemaObject, found: SchemaObject) -> list[str]:
    keys = wanted.definition.keys() | found.definition.keys()
    return sorted(key for key in keys if wanted.definition.get(key) != found.definition.get(key))


def _as_json(one: SchemaObject) -> list[Any]:
    return [one.kind, one.name, one.table, dict(one.definition)]
