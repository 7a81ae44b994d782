"""From decisions to the rows of a copy: what is selected of a table, and how each row of COPY is masked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from fleet.data.decisions import Decision, Decisions, Do, unfit
from fleet.data.masks._contacts import Contacts
from fleet.data.masks._contents import Contents
from fleet.data.masks._nested import Mask, in_array, in_json
from fleet.data.masks._numbers import Numbers
from fleet.data.masks._secret import Secret
from fleet.data.strategies import STRATEGIES
from fleet.data.tables import Column, Table
from fleet.data.types import Family
from fleet.errors import ActionError

_NULL = b"\\N"
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_WRITTEN = {character: f"\\{letter}" for letter, character in _ESCAPES.items()} | {"\\": "\\\\"}
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SPECIAL = re.compile(r"[\b\f\n\r\t\v\\]")


@dataclass(frozen=True, slots=True)
class Selection:
    """What is copied of a table that is not emptied.

    `query` selects its rows, columns that become NULL as NULL: their content never leaves the server. `format` is the
    one of COPY that its rows must come in, and go on in. `into` is the table and its columns for COPY FROM.
    `regenerated` are columns with the expression to fill them by once all is loaded, both in SQL.
    """

    table: Table
    columns: tuple[tuple[Column, Decision], ...]
    query: str
    into: str
    format: Literal["binary", "text"]
    regenerated: tuple[tuple[str, str], ...]


class Masker:
    """The masks of one target: `key` from read_key, `tier` that of the target. It may be used by several threads.

    One masker for the whole of a refresh: see Distinct.
    """

    def __init__(self, decisions: Decisions, key: bytes, tier: str) -> None:
        self._decisions = decisions
        self._domain = decisions.domain(tier)
        secrets = {name: Secret(key, tier, name) for name in STRATEGIES}
        self._contacts = Contacts(secrets, self._domain)
        self._numbers = Numbers(secrets)
        self._contents = Contents(secrets)

    def select(self, table: Table) -> Selection | None:
        """What to copy of a table; None: nothing, it is emptied. Raises ActionError: not all of it is decided on."""
        decided = self._decisions.of(table)
        if decided is None:
            raise ActionError(f"nobody decided on the table {table.shown}")
        if decided.columns is None:
            return None
        columns = []
        for column in table.columns:
            decision = decided.columns.get(column.name)
            reason = "nobody decided on it" if decision is None else unfit(column, decision, self._domain)
            if decision is None or reason is not None:
                raise ActionError(f"{table.shown}.{column.name}: {reason}")
            columns.append((column, decision))
        kept = {Do.KEEP, Do.MASK}
        chosen = ", ".join(column.quoted if each.do in kept else "null" for column, each in columns)
        names = ", ".join(column.quoted for column, _ in columns)
        return Selection(
            table,
            tuple(columns),
            query=f"select {chosen} from {table.source}",  # noqa: S608 - quoted by the server
            into=f"{table.quoted} ({names})",
            format="text" if any(each.do is Do.MASK for _, each in columns) else "binary",
            regenerated=tuple((column.quoted, each.sql) for column, each in columns if each.sql),
        )

    def mask_rows(self, table: Table, rows: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
        """Mask rows of `select(table).query` in the selection's format; sessions speak UTF-8 and ISO dates.

        Raises:
            ActionError: not all is decided on, or a row is not of the selected columns.
        """
        selection = self.select(table)
        if selection is None:
            raise ActionError(f"{table.shown} is emptied: none of its rows may be copied")
        masks = [
            (place, _on_copy(self.mask(column, decision)))
            for place, (column, decision) in enumerate(selection.columns)
            if decision.do is Do.MASK
        ]
        return _masked(selection, masks, rows) if masks else iter(rows)

    def mask(self, column: Column, decision: Decision) -> Mask:
        """The mask of one column, on values as PostgreSQL writes them. What is empty stays so."""
        mask = self._of(decision, column)
        if column.base == "citext":  # what it takes for equal must stay so
            mask = _folded(mask)
        elif column.base == "bpchar":
            mask = _unpadded(mask)
        return in_array(mask) if column.array else mask

    def _of(self, decision: Decision, column: Column | None) -> Mask:
        contacts, numbers, contents = self._contacts, self._numbers, self._contents
        if decision.mask == "json":
            return in_json(decision.paths, lambda each: self._of(each, None), contents.text)
        masks: dict[str, Mask] = {
            "email": contacts.email,
            "phone": contacts.phone,
            "name": partial(contacts.name, room=column.length if column else None),
            "ip": contacts.ip,
            "iban": numbers.iban,
            "codice_fiscale": numbers.codice_fiscale,
            "partita_iva": numbers.partita_iva,
            "card": numbers.card,
            "text": contents.text,
            "hash": contents.hash_of(column.family if column else Family.TEXT),
            "constant": lambda _: decision.value or "",
            "date_shift": partial(contents.date_shift, days=decision.days),
            "bytes": contents.noise,
            "vector": contents.vector,
        }
        return masks[decision.mask or ""]


def _masked(
    selection: Selection, masks: list[tuple[int, Callable[[bytes], bytes]]], rows: Iterable[bytes | memoryview]
) -> Iterator[bytes]:
    width = len(selection.columns)
    for row in rows:
        fields = bytes(row).rstrip(b"\n").split(b"\t")
        if len(fields) != width:
            raise ActionError(f"a row of {selection.table.shown} has {len(fields)} fields and not {width}")
        try:
            for place, mask in masks:
                if fields[place] not in {_NULL, b""}:
                    fields[place] = mask(fields[place])
        except (ValueError, LookupError, ArithmeticError, RecursionError) as error:
            # its words may quote the value
            name = selection.columns[place][0].name
            raise ActionError(f"{selection.table.shown}.{name} cannot be masked: {type(error).__name__}") from None
        yield b"\t".join(fields) + b"\n"


def _on_copy(mask: Mask) -> Callable[[bytes], bytes]:
    """The mask of a field as COPY writes it."""

    def masked(field: bytes) -> bytes:
        value = field.decode()
        made = mask(_ESCAPED.sub(_unescaped, value) if "\\" in value else value)
        return (_SPECIAL.sub(_escaped, made) if _SPECIAL.search(made) else made).encode()

    return masked


def _unescaped(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[1], match[1])


def _escaped(match: re.Match[str]) -> str:
    return _WRITTEN[match[0]]


def _folded(mask: Mask) -> Mask:
    return lambda value: mask(value.lower())


def _unpadded(mask: Mask) -> Mask:
    return lambda value: mask(bare) if (bare := value.rstrip(" ")) else value
