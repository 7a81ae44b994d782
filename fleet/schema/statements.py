"""SQL for one object: what makes it, what takes it away, what makes it another. Names and texts are the server's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from fleet.schema.objects import Kind, SchemaObject

_SCHEMA_LEVEL = {
    "schema": "SCHEMA",
    "extension": "EXTENSION",
    "sequence": "SEQUENCE",
    "table": "TABLE",
    "view": "VIEW",
    "materialized_view": "MATERIALIZED VIEW",
    "statistics": "STATISTICS",
    "aggregate": "AGGREGATE",
    "index": "INDEX",
}


def noun(one: SchemaObject) -> str:
    """What SQL calls an object of a schema."""
    form = one.definition.get("form", "")
    if one.kind == "function":
        return form
    if one.kind == "type":
        return "DOMAIN" if form == "DOMAIN" else "TYPE"
    if one.kind == "text_search":
        return f"TEXT SEARCH {form}"
    return _SCHEMA_LEVEL[one.kind]


def create(one: SchemaObject, columns: Sequence[SchemaObject] = (), *, online: bool = True) -> list[str]:
    """What makes the object; `columns` are those of a table; `online` builds indexes without blocking writers."""
    if one.kind == "table":
        return _create_table(one, columns)
    if one.kind == "index":
        return [_create_index(one, online=online)]
    return list(_CREATE[one.kind](one))


def drop(one: SchemaObject) -> str:
    match one.kind:
        case "column":
            return f"ALTER TABLE {one.table} DROP COLUMN IF EXISTS {one.name}"
        case "constraint":
            return f"ALTER TABLE {one.table} DROP CONSTRAINT IF EXISTS {one.name}"
        case "trigger" | "rule" | "policy":
            return f"DROP {one.kind.upper()} IF EXISTS {one.name} ON {one.table}"
        case "comment":
            return f"COMMENT ON {_described(one)} IS NULL"
        case "grant":
            on, _, role = one.name.rpartition(" to ")
            return f"REVOKE ALL ON {on} FROM {role}"
        case _:
            return f"DROP {noun(one)} IF EXISTS {one.name}"


def rename(was: SchemaObject, is_: SchemaObject) -> str:
    """Under its new name; a schema that changes with it is a second step."""
    new = is_.bare_name.partition("(")[0]
    match is_.kind:
        case "column" | "constraint":
            return f"ALTER TABLE {is_.table} RENAME {is_.kind.upper()} {was.name} TO {is_.name}"
        case "trigger" | "rule" | "policy":
            return f"ALTER {is_.kind.upper()} {was.name} ON {is_.table} RENAME TO {is_.name}"
        case _:
            return f"ALTER {noun(was)} {was.name} RENAME TO {new}"


def column(one: SchemaObject) -> str:
    """As CREATE TABLE wants it."""
    parts = one.definition
    words = [one.name, parts["type"]]
    if "collation" in parts:
        words += ["COLLATE", parts["collation"]]
    words += [parts[part] for part in ("generated", "identity") if part in parts]
    if "default" in parts:
        words += ["DEFAULT", parts["default"]]
    if "not null" in parts:
        words.append("NOT NULL")
    return " ".join(words)


def literal(text: str) -> str:
    """A string in SQL, whatever standard_conforming_strings says."""
    quoted = text.replace("'", "''")
    return "E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in text else f"'{quoted}'"


def _schema(one: SchemaObject) -> Iterator[str]:
    yield f"CREATE SCHEMA {one.name}"


def _extension(one: SchemaObject) -> Iterator[str]:
    parts = one.definition
    yield f"CREATE EXTENSION {one.name} WITH SCHEMA {parts['schema']} VERSION {literal(parts['version'])}"


def _sequence(one: SchemaObject) -> Iterator[str]:
    yield f"CREATE SEQUENCE {one.name} AS {one.definition['type']} {one.definition['options']}"


def _column(one: SchemaObject) -> Iterator[str]:
    yield f"ALTER TABLE {one.table} ADD COLUMN {column(one)}"


def _constraint(one: SchemaObject) -> Iterator[str]:
    yield f"ALTER TABLE {one.table} ADD CONSTRAINT {one.name} {one.definition['definition']}"


def _view(one: SchemaObject) -> Iterator[str]:
    options = f" WITH ({one.definition['options']})" if "options" in one.definition else ""
    yield f"CREATE {noun(one)} {one.name}{options} AS\n{_statement(one.definition['query'])}"


def _as_told(one: SchemaObject) -> Iterator[str]:
    yield _statement(one.definition["definition"])


def _trigger(one: SchemaObject) -> Iterator[str]:
    yield one.definition["definition"]
    if "enabled" in one.definition:
        yield f"ALTER TABLE {one.table} {one.definition['enabled']} TRIGGER {one.name}"


def _comment(one: SchemaObject) -> Iterator[str]:
    yield f"COMMENT ON {_described(one)} IS {literal(one.definition['text'])}"


def _statement(text: str) -> str:
    return text.strip().removesuffix(";")


def _create_table(one: SchemaObject, columns: Sequence[SchemaObject]) -> list[str]:
    parts = one.definition
    kind = {"UNLOGGED": "UNLOGGED TABLE"}.get(parts.get("persistence", ""), "TABLE")
    body = "(" + ",".join(f"\n    {column(each)}" for each in columns) + ("\n)" if columns else ")")
    if "bound" in parts:
        body = f"PARTITION OF {parts['parents']} {parts['bound']}"
    elif "parents" in parts:
        body += f" INHERITS ({parts['parents']})"
    if "partition by" in parts:
        body += f" PARTITION BY {parts['partition by']}"
    if "foreign server" in parts:
        return [f"-- {one.name}: make the foreign table of server {parts['foreign server']} by hand"]
    return [f"CREATE {kind} {one.name} {body}", *row_security(one)]


def row_security(one: SchemaObject) -> Iterator[str]:
    if "row security" in one.definition:
        yield f"ALTER TABLE {one.name} ENABLE ROW LEVEL SECURITY"
    if "forced row security" in one.definition:
        yield f"ALTER TABLE {one.name} FORCE ROW LEVEL SECURITY"


def _create_index(one: SchemaObject, *, online: bool) -> str:
    parts = one.definition
    words = ["CREATE", *(["UNIQUE"] if "unique" in parts else []), "INDEX", *(["CONCURRENTLY"] if online else [])]
    words += [one.bare_name, "ON", str(one.table), parts["definition"]]
    if "options" in parts:
        words.append(f"WITH ({parts['options']})")
    if "where" in parts:
        words += ["WHERE", parts["where"]]
    return " ".join(words)


def _type(one: SchemaObject) -> Iterator[str]:
    parts = one.definition
    match parts["form"]:
        case "ENUM":
            yield f"CREATE TYPE {one.name} AS ENUM ({parts.get('labels', '')})"
        case "COMPOSITE":
            yield f"CREATE TYPE {one.name} AS ({parts.get('attributes', '')})"
        case "RANGE":
            options = [f"{part} = {parts[part]}" for part in ("subtype", "subtype_diff") if part in parts]
            yield f"CREATE TYPE {one.name} AS RANGE ({', '.join(options)})"
        case _:
            words = [f"CREATE DOMAIN {one.name} AS {parts['base']}"]
            words += [f"COLLATE {parts['collation']}"] if "collation" in parts else []
            words += [f"DEFAULT {parts['default']}"] if "default" in parts else []
            words += [parts[part] for part in ("not null", "checks") if part in parts]
            yield " ".join(words)


def _text_search(one: SchemaObject) -> Iterator[str]:
    parts = one.definition
    head = f"{noun(one)} {one.name}"
    if parts["form"] == "DICTIONARY":
        options = f", {parts['options']}" if "options" in parts else ""
        yield f"CREATE {head} (TEMPLATE = {parts['template']}{options})"
        return
    yield f"CREATE {head} (PARSER = {parts['parser']})"
    for part, dictionaries in parts.items():
        if part.startswith("for "):
            yield f"ALTER {head} ADD MAPPING FOR {part.removeprefix('for ')} WITH {dictionaries}"


def _aggregate(one: SchemaObject) -> Iterator[str]:
    if "kind" in one.definition:
        yield f"-- {one.name}: make the {one.definition['kind']} aggregate by hand"
        return
    options = ", ".join(f"{part} = {text}" for part, text in one.definition.items())
    name, _, arguments = one.name.partition("(")
    yield f"CREATE AGGREGATE {name}({arguments} ({options})"


def _policy(one: SchemaObject) -> Iterator[str]:
    parts = one.definition
    words = [f"CREATE POLICY {one.name} ON {one.table}"]
    words += [f"AS {parts['permissive']}"] if "permissive" in parts else []
    words += [f"FOR {parts['command']}"] if "command" in parts else []
    words += [f"{part.upper()} ({parts[part]})" for part in ("using", "with check") if part in parts]
    yield " ".join(words)


def _described(one: SchemaObject) -> str:
    """`table column public.t.c` as COMMENT ON COLUMN wants it."""
    for kind in ("column", "constraint"):
        before, found, name = one.name.partition(f" {kind} ")
        if found and before in {"table", "view", "domain", "materialized view", "composite type", "foreign table"}:
            of_domain = kind == "constraint" and before == "domain"
            return f"{kind.upper()} {name.replace(' on ', ' on domain ') if of_domain else name}"
    for kind in ("materialized view", "foreign table", "text search configuration", "text search dictionary"):
        if one.name.startswith(f"{kind} "):
            return f"{kind.upper()} {one.name[len(kind) + 1 :]}"
    kind, _, name = one.name.partition(" ")
    return f"{kind.upper()} {name}"


def _grant(one: SchemaObject) -> Iterator[str]:
    on, _, role = one.name.rpartition(" to ")
    yield f"REVOKE ALL ON {on} FROM {role}"
    for privilege in one.definition["privileges"].split(", "):
        name = privilege.removesuffix(" WITH GRANT OPTION")
        yield f"GRANT {name} ON {on} TO {role}{privilege[len(name) :]}"


_CREATE: Mapping[Kind, Callable[[SchemaObject], Iterable[str]]] = {
    "schema": _schema,
    "extension": _extension,
    "type": _type,
    "text_search": _text_search,
    "sequence": _sequence,
    "column": _column,
    "constraint": _constraint,
    "statistics": _as_told,
    "view": _view,
    "materialized_view": _view,
    "function": _as_told,
    "aggregate": _aggregate,
    "trigger": _trigger,
    "rule": _as_told,
    "policy": _policy,
    "comment": _comment,
    "grant": _grant,
}
