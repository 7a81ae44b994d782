"""What a schema is made of: objects by kind and name, each with its definition in parts, and a fingerprint over all."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias, get_args

Kind: TypeAlias = Literal[
    "schema",
    "extension",
    "type",
    "text_search",
    "sequence",
    "table",
    "column",
    "constraint",
    "index",
    "statistics",
    "view",
    "materialized_view",
    "function",
    "aggregate",
    "trigger",
    "rule",
    "policy",
    "comment",
    "grant",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
LOCAL: frozenset[Kind] = frozenset({"column", "constraint", "trigger", "rule", "policy"})  # named within their table
# what may rightly differ between environments of one schema: it is compared where it is asked for, and never hashed
UNHASHED: frozenset[Kind] = frozenset({"extension", "comment", "grant"})
_BARE = re.compile(r'(?:"(?:[^"]|"")*"|[^."]+)$')


@dataclass(frozen=True, slots=True)
class SchemaObject:
    """One object. Names are quoted by the server, and qualified unless the object lives within its `table`.

    `definition` are its parts in SQL or in words; what is at its default is left out.
    """

    kind: Kind
    name: str
    table: str | None
    definition: Mapping[str, str]

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.kind, self.table or "" if self.kind in LOCAL else "", self.name)

    @property
    def path(self) -> str:
        """The qualified name: schema.name, or schema.table.name of what lives within a table."""
        return f"{self.table}.{self.name}" if self.kind in LOCAL else self.name

    @property
    def bare_name(self) -> str:
        """The name without its schema."""
        found = _BARE.search(self.name)
        return found[0] if found else self.name

    def matches(self, pattern: str) -> bool:
        """Whether `kind:glob` names this object, or the table that it belongs to."""
        kind, _, glob = pattern.partition(":")
        if fnmatchcase(self.kind, kind) and fnmatchcase(self.path, glob):
            return True
        return self.table is not None and fnmatchcase("table", kind) and fnmatchcase(self.table, glob)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The schema of one database. `version` is the server's major version, by which some texts differ."""

    objects: tuple[SchemaObject, ...]
    fingerprint: str
    version: int

    @classmethod
    def of(cls, objects: Iterable[SchemaObject], version: int) -> Catalogue:
        """Sort and hash; the order in which the objects come does not count."""
        found = tuple(sorted(objects, key=lambda one: one.key))
        digest = hashlib.sha256()
        for one in found:
            if one.kind not in UNHASHED:
                digest.update(json.dumps([*one.key, one.table, sorted(one.definition.items())]).encode())
        return cls(found, digest.hexdigest(), version)

    def without(self, ignore: Iterable[str]) -> Catalogue:
        """The catalogue without what the patterns `kind:glob` name."""
        patterns = tuple(ignore)
        if not patterns:
            return self
        kept = [one for one in self.objects if not any(one.matches(pattern) for pattern in patterns)]
        return Catalogue.of(kept, self.version)

    def count(self) -> dict[Kind, int]:
        """How many objects of each kind there are; those that are hashed are all there, be it with 0."""
        counts: dict[Kind, int] = {kind: 0 for kind in KINDS if kind not in UNHASHED}
        for one in self.objects:
            counts[one.kind] = counts.get(one.kind, 0) + 1
        return counts
