"""SQL that makes one object another in place; where SQL cannot, None: then it is dropped and made anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from fleet.schema.objects import Kind, SchemaObject
from fleet.schema.statements import create, noun

_MODIFIER = re.compile(r"\([^)]*\)")
_TEXTS = frozenset({"text", "character varying", "character"})
_FAMILIES = (
    frozenset({"smallint", "integer", "bigint", "numeric", "real", "double precision"}),
    frozenset({"integer", "boolean"}),
    frozenset({"date", "timestamp without time zone", "timestamp with time zone"}),
    frozenset({"json", "jsonb"}),
    frozenset({"public.vector", "public.halfvec", "public.sparsevec"}),
)


def alter(was: SchemaObject, is_: SchemaObject) -> list[str] | None:
    """Statements that change `was` into `is_`, or None."""
    change = _ALTER.get(is_.kind)
    return None if change is None else change(was, is_)


def _changes(was: SchemaObject, is_: SchemaObject, *parts: str) -> bool:
    return any(was.definition.get(part) != is_.definition.get(part) for part in parts)


def _table(was: SchemaObject, is_: SchemaObject) -> Iterator[str]:
    head = f"ALTER TABLE {is_.name}"
    if _changes(was, is_, "persistence"):
        yield f"{head} SET {'UNLOGGED' if 'persistence' in is_.definition else 'LOGGED'}"
    if _changes(was, is_, "row security"):
        yield f"{head} {'ENABLE' if 'row security' in is_.definition else 'DISABLE'} ROW LEVEL SECURITY"
    if _changes(was, is_, "forced row security"):
        yield f"{head} {'FORCE' if 'forced row security' in is_.definition else 'NO FORCE'} ROW LEVEL SECURITY"
    if _changes(was, is_, "partition by", "foreign server"):
        yield f"-- {is_.name}: make it anew, partitioned as the reference is, and move its rows"
    elif _changes(was, is_, "parents", "bound"):
        yield from _parents(was, is_)


def _parents(was: SchemaObject, is_: SchemaObject) -> Iterator[str]:
    before, after = was.definition, is_.definition
    if "bound" in before:
        yield f"ALTER TABLE {before['parents']} DETACH PARTITION {is_.name}"
    elif "parents" in before:
        yield from (f"ALTER TABLE {is_.name} NO INHERIT {parent}" for parent in before["parents"].split(", "))
    if "bound" in after:
        yield f"ALTER TABLE {after['parents']} ATTACH PARTITION {is_.name} {after['bound']}"
    elif "parents" in after:
        yield from (f"ALTER TABLE {is_.name} INHERIT {parent}" for parent in after["parents"].split(", "))


def _column(was: SchemaObject, is_: SchemaObject) -> Iterator[str]:
    head = f"ALTER TABLE {is_.table} ALTER COLUMN {is_.name}"
    parts = is_.definition
    retyped = _changes(was, is_, "type", "collation")
    if "identity" in was.definition and _changes(was, is_, "identity"):
        yield f"{head} DROP IDENTITY"
    if "default" in was.definition and (retyped or "default" not in parts):
        yield f"{head} DROP DEFAULT"
    if retyped:
        collation = f" COLLATE {parts['collation']}" if "collation" in parts else ""
        through = "" if _casts(was.definition["type"], parts["type"]) else "::text"
        yield f"{head} TYPE {parts['type']}{collation} USING {is_.name}{through}::{parts['type']}"
    if _changes(was, is_, "not null"):
        yield f"{head} {'SET' if 'not null' in parts else 'DROP'} NOT NULL"
    if "default" in parts and (retyped or _changes(was, is_, "default")):
        yield f"{head} SET DEFAULT {parts['default']}"
    if "identity" in parts and _changes(was, is_, "identity"):
        yield f"{head} ADD {parts['identity']}"


def _casts(before: str, after: str) -> bool:
    """Whether PostgreSQL has a cast, as far as one can tell by the names; texts can be cast into anything and back."""
    bare = {_MODIFIER.sub("", name) for name in (before, after)}
    return len(bare) == 1 or bool(bare & _TEXTS) or any(bare <= family for family in _FAMILIES)


def _sequence(_was: SchemaObject, is_: SchemaObject) -> Iterator[str]:
    parts = is_.definition
    yield f"ALTER SEQUENCE {is_.name} AS {parts['type']} {parts['options']}"
    yield f"ALTER SEQUENCE {is_.name} OWNED BY {parts.get('owned by', 'NONE')}"


def _extension(was: SchemaObject, is_: SchemaObject) -> Iterator[str]:
    if _changes(was, is_, "version"):
        yield f"ALTER EXTENSION {is_.name} UPDATE TO '{is_.definition['version']}'"
    if _changes(was, is_, "schema"):
        yield f"ALTER EXTENSION {is_.name} SET SCHEMA {is_.definition['schema']}"


def _type(was: SchemaObject, is_: SchemaObject) -> list[str] | None:
    if _changes(was, is_, "form", "base", "collation", "subtype"):
        return None
    match is_.definition["form"]:
        case "ENUM":
            return _add_labels(_split(was.definition.get("labels")), _split(is_.definition.get("labels")), is_.name)
        case "COMPOSITE":
            before, after = _split(was.definition.get("attributes")), _split(is_.definition.get("attributes"))
            if after[: len(before)] != before:
                return None
            return [f"ALTER TYPE {is_.name} ADD ATTRIBUTE {attribute}" for attribute in after[len(before) :]]
        case "DOMAIN":
            return list(_domain(was, is_))
        case _:
            return None


def _split(text: str | None) -> list[str]:
    return text.split(", ") if text else []


def replace_enum(is_: SchemaObject, columns: Iterable[SchemaObject]) -> list[str]:
    """An enum with other labels, and the `columns` that have it turned to it by their texts; the old one goes."""
    bare = is_.bare_name
    before = f'{bare[:-1]}_before"' if bare.endswith('"') else f"{bare}_before"
    statements = [f"ALTER TYPE {is_.name} RENAME TO {before}", *create(is_)]
    for column in columns:
        head, parts = f"ALTER TABLE {column.table} ALTER COLUMN {column.name}", column.definition
        through = "text[]" if parts["type"].endswith("[]") else "text"
        if "default" in parts:
            statements.append(f"{head} DROP DEFAULT")
        statements.append(f"{head} TYPE {parts['type']} USING {column.name}::{through}::{parts['type']}")
        if "default" in parts:
            statements.append(f"{head} SET DEFAULT {parts['default']}")
    return [*statements, f"DROP TYPE {is_.name.removesuffix(bare)}{before}"]


def _add_labels(before: Sequence[str], after: Sequence[str], name: str) -> list[str] | None:
    if [label for label in after if label in before] != list(before):
        return None  # labels cannot be taken away, nor moved
    found: list[str] = []
    for at, label in enumerate(after):
        if label not in before:
            place = f" AFTER {after[at - 1]}" if at else (f" BEFORE {before[0]}" if before else "")
            found.append(f"ALTER TYPE {name} ADD VALUE {label}{place}")
    return found


def _domain(was: SchemaObject, is_: SchemaObject) -> Iterator[str]:
    head, parts = f"ALTER DOMAIN {is_.name}", is_.definition
    if _changes(was, is_, "default"):
        yield f"{head} SET DEFAULT {parts['default']}" if "default" in parts else f"{head} DROP DEFAULT"
    if _changes(was, is_, "not null"):
        yield f"{head} {'SET' if 'not null' in parts else 'DROP'} NOT NULL"
    before, after = (one.definition.get("checks", "").splitlines() for one in (was, is_))
    yield from (f"{head} DROP {check.partition(' CHECK ')[0]}" for check in before if check not in after)
    yield from (f"{head} ADD {check}" for check in after if check not in before)


def _text_search(was: SchemaObject, is_: SchemaObject) -> list[str] | None:
    before, after = was.definition, is_.definition
    if _changes(was, is_, "form", "parser", "template"):
        return None
    head = f"ALTER {noun(is_)} {is_.name}"
    if after["form"] == "DICTIONARY":
        return [f"{head} ({after['options']})"] if "options" in after else None
    found = [
        f"{head} DROP MAPPING FOR {part.removeprefix('for ')}" for part in before if before[part] != after.get(part)
    ]
    found += [
        f"{head} ADD MAPPING FOR {part.removeprefix('for ')} WITH {after[part]}"
        for part in after
        if after[part] != before.get(part)
    ]
    return found


def _function(was: SchemaObject, is_: SchemaObject) -> list[str] | None:
    """CREATE OR REPLACE keeps what a call looks like: names of arguments, what is returned."""
    calls = (one.definition["form"] + one.definition["definition"].partition("\n LANGUAGE")[0] for one in (was, is_))
    return [is_.definition["definition"].strip()] if len(set(calls)) == 1 else None


_ALTER: Mapping[Kind, Callable[[SchemaObject, SchemaObject], list[str] | None]] = {
    "table": lambda was, is_: list(_table(was, is_)),
    "column": lambda was, is_: None if _changes(was, is_, "generated") else list(_column(was, is_)),
    "sequence": lambda was, is_: list(_sequence(was, is_)),
    "extension": lambda was, is_: list(_extension(was, is_)),
    "type": _type,
    "text_search": _text_search,
    "function": _function,
    "comment": lambda _was, _is: [],  # to make it says it all
    "grant": lambda _was, _is: [],
}
