"""Random schemas, and the orders in which their statements can be run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random

from fleet.schema import Kind
from fleet.schema.objects import LOCAL

APP = "app"
_NAMES = ("plain_{}", '"Mixed{}"', '"with space {}"', '"dot.ted {}"', '"quo""ted {}"', '"größe {}"', '"order%{}"')
_COLUMNS = {
    "bigint": ("0", "-1"),
    "character varying(20)": ("'x'",),
    "numeric(10,2)": ("1.50",),
    "boolean": ("true",),
    "timestamp with time zone": ("now()", "'2026-01-01 12:00+02'"),
    "date": ("CURRENT_DATE",),
    "uuid": ("gen_random_uuid()",),
    "text[]": ("'{}'",),
    "interval": ("'1 day'",),
    "bytea": ("'\\xff'",),
    f"{APP}.mood": ("'it''s'",),
    f"{APP}.positive": ("5",),
}
# what every schema has before its tables; the tables' columns and triggers are of these
_GROUND: tuple[tuple[Kind, str, str], ...] = (
    ("type", f"{APP}.mood", "create type {} as enum ('a', 'it''s', 'C')"),
    ("type", f"{APP}.pair", "create type {} as (a integer, b text)"),
    ("type", f"{APP}.positive", "create domain {} as integer default 1 constraint above check (value > 0)"),
    ("sequence", f"{APP}.counter", "create sequence {} as integer start 5 cache 2"),
    (
        "function",
        f"{APP}.touch()",
        "create function {} returns trigger language plpgsql as $$ begin return new; end $$",
    ),
    ("function", f"{APP}.twice(integer)", "create function {} returns integer language sql as 'select $1 * 2'"),
)


@dataclass(frozen=True, slots=True)
class Column:
    """`generated` is what makes it (GENERATED ...), `needs` are the paths of what has to be there before."""

    name: str
    type: str
    default: str | None = None
    not_null: bool = False
    generated: str = ""
    needs: frozenset[str] = frozenset()

    @property
    def sql(self) -> str:
        default = f"default {self.default}" if self.default is not None else ""
        return f"{self.name} {self.type} {default} {'not null' if self.not_null else ''} {self.generated}"


@dataclass(frozen=True, slots=True)
class Part:
    """What is made by one statement, `sql`, after those of `needs`; `uses` are the columns that it is about."""

    kind: Kind
    name: str
    sql: str
    needs: frozenset[str] = frozenset()
    table: str | None = None
    uses: frozenset[str] = frozenset()

    @property
    def path(self) -> str:
        return f"{self.table}.{self.name}" if self.kind in LOCAL else self.name


@dataclass(frozen=True, slots=True)
class Table:
    """The first columns are the key (bigint), a number, a text, a jsonb and a bigint that may lead to another table.

    The last one, `spare`, is a text that nothing else is about.
    """

    name: str
    columns: tuple[Column, ...]

    @property
    def key(self) -> Column:
        return self.columns[0]

    @property
    def spare(self) -> Column:
        return self.columns[-1]


@dataclass(slots=True)
class Schema:
    tables: list[Table] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    def statements(self, random: Random) -> list[str]:
        """All that makes it, in one of the orders that work; columns come with their table, or later."""
        waiting = [(one.path, one.sql, one.needs) for one in self.parts]
        waiting += [one for table in self.tables for one in _spread(table, random)]
        there: set[str] = set()
        found: list[str] = [f"create schema {APP}"]
        while waiting:
            chosen = random.choice([one for one in waiting if one[2] <= there])
            waiting.remove(chosen)
            there.add(chosen[0])
            found.append(chosen[1])
        return found

    def of(self, kind: Kind, containing: str = "") -> list[Part]:
        return [one for one in self.parts if one.kind == kind and containing in one.sql]


def make_schema(random: Random, *, vectors: bool = False) -> Schema:
    """Some tables, and whatever can stand on them; `vectors` where the server has pgvector."""
    names = (random.choice(_NAMES).format(number) for number in count())
    ground = [Part(kind, name, sql.format(name)) for kind, name, sql in _GROUND]
    schema = Schema(parts=ground)
    if vectors:
        schema.parts.append(Part("extension", "vector", "create extension vector schema public"))
    for _ in range(random.randint(3, 5)):
        schema.tables.append(_table(names, random, vectors=vectors))
    for table in schema.tables:
        schema.parts += _parts(table, names, vectors=vectors)
    for table, other in zip(schema.tables, [*schema.tables[1:], schema.tables[0]], strict=True):
        schema.parts.append(_foreign_key(table, other, next(names), schema))
    schema.parts += _views(schema, names)
    return schema


def _table(names: Iterator[str], random: Random, *, vectors: bool) -> Table:
    identity = random.choice(("", "generated always as identity", "generated by default as identity (start 7)"))
    number = Column(next(names), "integer", "7")
    columns = [Column(next(names), "bigint", not_null=True, generated=identity), number]
    columns += [Column(next(names), type_) for type_ in ("text", "jsonb", "bigint")]
    table = f"{APP}.{next(names)}"
    for type_ in random.sample(list(_COLUMNS), random.randint(3, 6)):
        default = random.choice((None, *_COLUMNS[type_]))
        needs = frozenset({type_} if type_.startswith(APP) else ())
        columns.append(Column(next(names), type_, default, not_null=random.random() < 0.3, needs=needs))
    twice = f"generated always as ({number.name} * 2) stored"
    columns.append(Column(next(names), "integer", generated=twice, needs=frozenset({f"{table}.{number.name}"})))
    if vectors:
        columns.append(Column(next(names), "public.vector(8)", needs=frozenset({"vector"})))
    columns.append(Column(next(names), "text", random.choice((None, "'x'"))))
    return Table(table, tuple(columns))


def _spread(table: Table, random: Random) -> Iterator[tuple[str, str, frozenset[str]]]:
    """The table with some of its columns, and the others one by one: path, statement, what is needed."""
    others = [one for one in table.columns if one.needs or random.random() < 0.3]
    columns = [one for one in table.columns if one not in others]
    random.shuffle(columns)
    # a table without columns is one, too
    yield table.name, f"create table {table.name} ({', '.join(one.sql for one in columns)})", frozenset()
    for one in columns:
        yield f"{table.name}.{one.name}", "select", frozenset({table.name})
    for one in others:
        needs = one.needs | {table.name}
        yield f"{table.name}.{one.name}", f"alter table {table.name} add {one.sql}", needs


def _parts(table: Table, names: Iterator[str], *, vectors: bool) -> Iterator[Part]:
    """What stands on one table alone."""
    key, number, text, json = (one.name for one in table.columns[:4])

    def part(kind: Kind, before: str, after: str, *uses: str, needs: frozenset[str] = frozenset()) -> Part:
        name = next(names)
        told = f"{APP}.{name}" if kind in {"index", "statistics"} else name
        made = told if kind == "statistics" else name
        used = frozenset(f"{table.name}.{one}" for one in uses)
        return Part(kind, told, f"{before} {made} {after}", used | {table.name} | needs, table.name, frozenset(uses))

    def index(after: str, *uses: str, unique: bool = False) -> Part:
        return part("index", f"create {'unique ' * unique}index", f"on {table.name} {after}", *uses)

    head = f"alter table {table.name} add constraint"
    yield part("constraint", head, f"primary key ({key})", key)
    yield part("constraint", head, f"check ({number} between 0 and 99)", number)
    yield part("constraint", head, f"unique ({text}, {number})", text, number)
    yield index(f"({number} desc nulls last)", number)
    yield index(f"(lower({text})) where {number} > 3", text, number)
    yield index(f"using gin ({json} jsonb_path_ops)", json)
    yield index(f"({text}) include ({number}) with (fillfactor = 70)", text, number)
    yield index(f'({number}, {text} collate "C")', text, number, unique=True)
    for one in table.columns if vectors else ():
        if one.type == "public.vector(8)":
            yield index(f"using hnsw ({one.name} public.vector_cosine_ops) with (m = 8)", one.name)
            yield index(f"using ivfflat ({one.name} public.vector_l2_ops) with (lists = 10)", one.name)
            yield index(f"using hnsw (({one.name}::public.halfvec(8)) public.halfvec_l2_ops)", one.name)
    yield part("statistics", "create statistics", f"on {number}, {text} from {table.name}", number, text)
    yield part("policy", "create policy", f"on {table.name} for select using ({number} > 0)", number)
    touch = f"before update on {table.name} for each row execute function {APP}.touch()"
    yield part("trigger", "create trigger", touch, needs=frozenset({f"{APP}.touch()"}))


def _foreign_key(table: Table, other: Table, name: str, schema: Schema) -> Part:
    column = table.columns[4]
    (key,) = (one for one in schema.of("constraint", "primary key") if one.table == other.name)
    leads = f"foreign key ({column.name}) references {other.name} ({other.key.name}) on delete cascade"
    sql = f"alter table {table.name} add constraint {name} {leads}"
    needs = frozenset({f"{table.name}.{column.name}", key.path})
    return Part("constraint", name, sql, needs, table.name, frozenset({column.name}))


def _views(schema: Schema, names: Iterator[str]) -> Iterator[Part]:
    """A view and one on it, on the first table; a materialised one with an index, on the second; and one on both."""
    first, second = schema.tables[:2]
    needs = frozenset(f"{first.name}.{one.name}" for one in first.columns[:3])
    key, number, text = (one.name for one in first.columns[:3])
    view, above, counted, index = (next(names) for _ in range(4))
    sql = f"create view {APP}.{view} as select {key}, {text} from {first.name} where {number} > 1"  # noqa: S608
    yield Part("view", f"{APP}.{view}", sql, needs)
    sql = f"create view {APP}.{above} with (security_barrier) as select {key} from {APP}.{view}"  # noqa: S608
    yield Part("view", f"{APP}.{above}", sql, frozenset({f"{APP}.{view}"}))
    number, name = second.columns[1].name, f"{APP}.{counted}"
    query = f"select {number}, count(*) as many from {second.name} group by {number}"  # noqa: S608
    sql = f"create materialized view {name} as {query}"
    yield Part("materialized_view", name, sql, frozenset({f"{second.name}.{number}"}))
    joined = f"{APP}.{next(names)}"
    columns = (f"{first.name}.{text}", f"{second.name}.{second.columns[2].name} as other")
    on = f"{first.name}.{first.columns[1].name} = {second.name}.{number}"
    query = f"select {', '.join(columns)} from {first.name} join {second.name} on {on}"  # noqa: S608
    needs = frozenset(f"{table.name}.{one.name}" for table in (first, second) for one in table.columns[:3])
    yield Part("view", joined, f"create view {joined} as {query}", needs)
    sql = f"create index {index} on {name} (many)"
    yield Part("index", f"{APP}.{index}", sql, frozenset({name}), name, frozenset({"many"}))
