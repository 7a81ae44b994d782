"""What a vector index is to become, whether that can be, what it takes, and the statement that makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from actions._action import Job, Object
from actions._restore_memory import Budget
from actions._vector_build import left_overs, new_name
from actions._vector_memory import machine, size_build
from fleet.connections import Connection
from fleet.errors import ActionError
from fleet.vectors import Method, VectorIndex
from fleet.vectors.costs import index_bytes, shape_of
from fleet.vectors.hazards import Work, forbidden, hazards_of
from fleet.vectors.recommended import HNSW_SINCE, Version, most_dimensions, parse_version

_WRITTEN_TWICE = 2.0  # as an index, and as WAL before it
_FACTS = """
    select e.extversion as version, quote_ident(e.extnamespace::regnamespace::name) as schema,
        quote_ident(s.spcname) as tablespace, obj_description(i.oid, 'pg_class') as comment,
        exists (select from pg_catalog.pg_inherits where inhrelid = i.oid) as attached,
        exists (select from pg_catalog.pg_depend where classid = 'pg_catalog.pg_class'::regclass
            and objid in (i.oid, x.indrelid) and deptype = 'e') as of_extension,
        coalesce((select array_agg(option_name || '=' || option_value) from pg_options_to_table(i.reloptions)), '{}')
            as options
    from pg_catalog.pg_class i
        join pg_catalog.pg_index x on x.indexrelid = i.oid
        join pg_catalog.pg_extension e on e.extname = 'vector'
        left join pg_catalog.pg_tablespace s on s.oid = i.reltablespace
    where i.oid = $1
"""
_OPCLASS = """
    select format('%I.%I', n.nspname, o.opcname)
    from pg_catalog.pg_opclass o
        join pg_catalog.pg_am m on m.oid = o.opcmethod
        join pg_catalog.pg_namespace n on n.oid = o.opcnamespace
        join pg_catalog.pg_extension e on e.extnamespace = n.oid and e.extname = 'vector'
    where m.amname = $1 and o.opcname = $2
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """Of an index, its server and pgvector; names as the server quotes them, `options` as they are set."""

    server_version: int
    version: str
    schema: str
    tablespace: str | None
    comment: str | None
    options: Mapping[str, str]

    @property
    def pgvector(self) -> Version:
        return parse_version(self.version)


@dataclass(frozen=True, slots=True)
class Design:
    """An index to be made, as it will stand in the catalogue; `options` are those that are written down."""

    index: VectorIndex
    options: Mapping[str, str]

    @property
    def rows(self) -> float:
        """Where nobody has counted them, as many as there is room for."""
        if self.index.rows is None:
            return self.index.table_bytes / (4.0 * (self.index.dimensions or 1))
        return self.index.rows

    @property
    def words(self) -> str:
        said = ", ".join(f"{name} = {value}" for name, value in self.index.options.items())
        return f"{self.index.method} with {said}"


async def read_facts(connection: Connection, index: VectorIndex) -> Facts:
    """Raises ActionError where the index is part of something larger, or gone."""
    record = await connection.fetchrow(_FACTS, index.oid)
    if record is None:
        raise ActionError(f"{index.quoted} was dropped")
    if record["attached"]:
        raise ActionError(f"{index.quoted} belongs to a partitioned index", hint="reindex it instead")
    if record["of_extension"]:
        raise ActionError(f"{index.quoted} belongs to an extension")
    server = int(await connection.fetchval("show server_version_num"))
    options = dict(option.split("=", 1) for option in record["options"])
    return Facts(server, record["version"], record["schema"], record["tablespace"], record["comment"], options)


def redesign(index: VectorIndex, facts: Facts, options: Mapping[str, int]) -> Design:
    """The same index with other parameters: those that nobody set stay unset, as long as they are what they were."""
    changed = {name: str(value) for name, value in options.items() if index.options[name] != value}
    return Design(replace(index, options={**index.options, **options}), {**facts.options, **changed})


def to_hnsw(index: VectorIndex, facts: Facts, m: int, ef_construction: int, *, halfvec: bool) -> Design:
    """Raises ActionError where pgvector is too old, or the vectors have too many dimensions."""
    _since(HNSW_SINCE, "HNSW indexes", facts)
    options = {"m": m, "ef_construction": ef_construction}
    made = replace(index, method=Method.HNSW, options=options)
    if halfvec:
        made = replace(
            made,
            opclass=f"halfvec_{index.opclass.removeprefix('vector_')}",
            type_name="halfvec",
            column=None,
            expression=f"(({index.expression})::{facts.schema}.halfvec({index.dimensions}))",
        )
    type_name = made.type_name.rpartition(".")[2]
    most = most_dimensions(type_name)
    if most is not None and (index.dimensions or 0) > most:
        raise ActionError(
            f"{index.quoted} has {index.dimensions} dimensions, HNSW on {type_name} takes at most {most}",
            hint="halfvec takes 4,000" if type_name == "vector" else "quantize to bit, or index fewer dimensions",
        )
    return Design(made, {name: str(value) for name, value in options.items()})


def _since(version: Version, what: str, facts: Facts) -> None:
    if facts.pgvector < version:
        said = ".".join(map(str, version))
        raise ActionError(
            f"pgvector {facts.version} has no {what}: they came with {said}", hint="ALTER EXTENSION vector UPDATE"
        )


def as_halfvec(index: VectorIndex, facts: Facts, asked: bool | None, since: Version) -> bool:
    """As asked; else where vectors have more dimensions than an index takes. Raises ActionError where it cannot be."""
    is_vector = index.type_name.rpartition(".")[2] == "vector"
    most = most_dimensions("vector") or 0
    wanted = (is_vector and (index.dimensions or 0) > most) if asked is None else asked
    if not wanted:
        return False
    if not is_vector or index.dimensions is None:
        raise ActionError(f"{index.quoted} is of {index.type_name}: only vectors of known dimensions become halfvec")
    _since(since, "halfvec", facts)
    return True


async def statement(connection: Connection, job: Job, design: Design, facts: Facts) -> str:
    """CREATE INDEX CONCURRENTLY. Raises ActionError where the method has no such operator class."""
    made = design.index
    opclass = await connection.fetchval(_OPCLASS, made.method.value, made.opclass)
    if opclass is None:
        raise ActionError(f"pgvector {facts.version} has no {made.opclass} for {made.method}", hint="is it up to date?")
    name = await connection.fetchval("select quote_ident($1)", new_name(job))
    options = ", ".join(f"{option} = {value}" for option, value in design.options.items())
    return " ".join(
        part
        for part in (
            f"CREATE INDEX CONCURRENTLY {name} ON {made.quoted_table} USING {made.method}",
            f"({made.expression} {opclass})",
            f"WITH ({options})" if options else "",
            f"TABLESPACE {facts.tablespace}" if facts.tablespace else "",
            f"WHERE {made.predicate}" if made.predicate else "",
        )
        if part
    )


async def objects(connection: Connection, job: Job, design: Design, facts: Facts, old: VectorIndex) -> list[Object]:
    """The index, with all that the steps need to know of it; then what other runs left on the table."""
    first: Object = {
        **old.object,
        "table_oid": old.table_oid,
        "quoted": old.quoted,
        "quoted_name": await connection.fetchval("select quote_ident($1)", old.indexrelname),
        "table": old.quoted_table,
        "definition": old.definition,
        "comment": facts.comment,
        "create": await statement(connection, job, design, facts),
    }
    return [first, *(one.object for one in await left_overs(connection, job, old.table_oid))]


async def budget_of(job: Job, design: Design, facts: Facts, megabytes: int | None) -> tuple[Budget, list[str]]:
    """Memory and workers of the build, and what is to be said of them and of the releases that run.

    Raises:
        ActionError: PostgreSQL's release breaks what is built concurrently; the memory does not suffice.
    """
    made = design.index
    hazards = hazards_of(facts.server_version, facts.version, made.method)
    if (broken := forbidden(hazards, Work.CONCURRENTLY)) is not None:
        raise ActionError(broken.trouble, hint=broken.remedy)
    alone = forbidden(hazards, Work.PARALLEL_BUILD)
    server = await machine(job, made.datname)
    budget, remark = size_build(server, shape_of(made), design.rows, megabytes, parallel=alone is None)
    remarks = [remark]
    if alone is not None:
        remarks.append(f"no workers help: {alone.trouble} ({alone.name})")
    return budget, remarks


def disk_bytes(design: Design) -> float:
    """The new index beside the old one, and what is written of it before."""
    shape = shape_of(design.index)
    return _WRITTEN_TWICE * (design.index.size_bytes if shape is None else index_bytes(shape, design.rows))
