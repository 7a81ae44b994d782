"""Tables and columns, as far as decisions on their data need them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fleet.data.types import Family


@dataclass(frozen=True, slots=True)
class Column:
    """`type` is as format_type says it, `base` the type below domains and arrays, `length` its most characters.

    `family` is None where masks do not know the type. `unique` columns stand in a unique index. `quoted` is in SQL.
    """

    name: str
    quoted: str
    type: str
    base: str
    family: Family | None
    array: bool = False
    not_null: bool = False
    unique: bool = False
    length: int | None = None


@dataclass(frozen=True, slots=True)
class ForeignKey:
    columns: tuple[str, ...]
    parent: tuple[str, str]
    parent_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table with rows of its own or in its partitions; generated columns are computed anew and not among `columns`.

    `foreign`: some of its rows are on another server. `rows` is the server's estimate.
    `source` is what its rows are selected from: the name in SQL, after `only` where children have rows of their own.
    """

    schema_name: str
    name: str
    quoted: str
    source: str
    columns: tuple[Column, ...]
    foreign_keys: tuple[ForeignKey, ...] = ()
    foreign: bool = False
    rows: int = 0

    @property
    def key(self) -> tuple[str, str]:
        return self.schema_name, self.name

    @property
    def shown(self) -> str:
        """As the configuration names it."""
        return self.name if self.schema_name == "public" else f"{self.schema_name}.{self.name}"


def find_table(tables: Iterable[Table], name: str) -> Table | None:
    """The one of this name, or schema.name."""
    schema, _, plain = name.rpartition(".")
    return next((table for table in tables if table.key == (schema or "public", plain)), None)
