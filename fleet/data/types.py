"""The families of types that masks know. What is in none of them is undecided, and stops a refresh."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Family(StrEnum):
    """What values of a type can hold, and so which masks fit."""

    TEXT = "text"
    JSON = "json"
    BYTES = "bytes"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TIME = "time"
    UUID = "uuid"
    NETWORK = "network"
    ENUM = "enum"
    RANGE = "range"
    VECTOR = "vector"
    SEARCH = "search"


# derived from other columns, and telling what these hold
DERIVED = frozenset({Family.VECTOR, Family.SEARCH})
# free content: whatever people write may stand in it
FREE = frozenset({Family.TEXT, Family.JSON, Family.BYTES})

_OF_CATALOGUE = {
    Family.TEXT: "text varchar bpchar name xml",
    Family.JSON: "json jsonb",
    Family.BYTES: "bytea",
    Family.NUMBER: "int2 int4 int8 numeric float4 float8 money oid",
    Family.BOOLEAN: "bool",
    Family.TIME: "date time timetz timestamp timestamptz interval",
    Family.UUID: "uuid",
    Family.NETWORK: "inet cidr macaddr macaddr8",
    Family.RANGE: "int4range int8range numrange daterange tsrange tstzrange"
    " int4multirange int8multirange nummultirange datemultirange tsmultirange tstzmultirange",
    Family.VECTOR: "bit varbit",  # of binary quantised embeddings
    Family.SEARCH: "tsvector tsquery",
}
_OF_EXTENSIONS = {
    Family.TEXT: {"citext": "citext", "ltree": "ltree"},
    Family.VECTOR: {"vector": "vector", "halfvec": "vector", "sparsevec": "vector"},
}
_CATALOGUE: Mapping[str, Family] = {name: family for family, names in _OF_CATALOGUE.items() for name in names.split()}
_EXTENSIONS: Mapping[tuple[str, str], Family] = {
    (name, extension): family for family, names in _OF_EXTENSIONS.items() for name, extension in names.items()
}


def family_of(name: str, kind: str, schema: str, extension: str | None) -> Family | None:
    """The family of a type that is no domain and no array; `kind` is pg_type.typtype. None: nobody decided on it."""
    if kind == "e":
        return Family.ENUM
    if extension is not None:
        return _EXTENSIONS.get((name, extension))
    return _CATALOGUE.get(name) if schema == "pg_catalog" and kind in {"b", "r", "m"} else None
