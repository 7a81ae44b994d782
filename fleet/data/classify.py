"""Proposals for columns that nobody decided on, by their name, their type and a sample of what they hold.

A proposal is for a person to read: it decides nothing. Values are looked at and forgotten, none is shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fleet.connections import Connection
from fleet.data.checksums import iban_digits, italian_letter, luhn
from fleet.data.decisions import Decision, Do, TableDecision, Undecided, unfit
from fleet.data.strategies import STRATEGIES
from fleet.data.tables import Column, Table
from fleet.data.types import DERIVED, FREE, Family

SAMPLE_ROWS = 200
_SHARE = 0.2  # of the sampled values that must look alike

# by name, the first that matches; in English and Italian
_NAMES: tuple[tuple[str, str], ...] = (
    (r"e?_?mail|posta_elettronica|pec", "email"),
    (r"phone|mobile|cell|tel|telefono|cellulare|fax|whatsapp", "phone"),
    (r"iban|bank_?account|conto", "iban"),
    (r"codice_?fiscale|cod_?fisc|fiscal_?code|tax_?code|ssn|cf", "codice_fiscale"),
    (r"partita_?iva|p_?iva|vat(_?(number|id|no))?", "partita_iva"),
    (r"(credit_?)?card(_?(number|no))?|pan|carta", "card"),
    (r"ip|ip_?addr(ess)?|remote_?addr|client_?ip", "ip"),
    (r"password|passwd|pwd|secret|token|api_?key|hash|salt|session|otp", "hash"),
    (r"(first|last|full|middle|given|family|user|display|nick)_?name|surname|nome|cognome|ragione_?sociale", "name"),
    (r"birth|born|dob|nascita", "date_shift"),
    (r"address|street|via|indirizzo|city|citta|zip|cap|postal|comune|lat|lon|lng|location|geo|gender|sesso", "text"),
    (r"avatar|photo|foto|picture|image|signature|firma|document|attachment|allegato", "bytes"),
    (r"note|notes|comment|body|message|content|text|bio|about|description|subject|descrizione|commento", "text"),
)
_EMAIL = re.compile(r"[^\s@,;<>\"]+@[^\s@,;<>\"]+\.[^\W\d_]{2,}")
_PHONE = re.compile(r"(?:\+|00)[1-9][0-9 ()./-]{6,18}[0-9]|0[1-9][0-9 ./-]{5,12}[0-9]|3[0-9]{2}[ ./-]?[0-9]{6,7}")
_LONG_DOMAIN = "x" * 30
_SEPARATORS = re.compile(r"[\s./-]+")


@dataclass(frozen=True, slots=True)
class Proposal:
    """`decision` as the configuration writes it; `reason` says what it is by."""

    undecided: Undecided
    decision: Decision
    reason: str


def _is_iban(bare: str) -> bool:
    if re.fullmatch(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}", bare) is None:
        return False
    return iban_digits(bare[:2], bare[4:]) == bare[2:4]


def _is_fiscal_code(bare: str) -> bool:
    return re.fullmatch(r"[A-Z]{6}[A-Z0-9]{9}[A-Z]", bare) is not None and italian_letter(bare[:15]) == bare[15]


def _passes_luhn(bare: str, least: int, most: int) -> bool:
    return bare.isascii() and bare.isdigit() and least <= len(bare) <= most and luhn(bare[:-1]) == bare[-1]


# by content: whether a value, or it without separators and in capitals, is of the kind
_CONTENTS: Mapping[str, Callable[[str, str], bool]] = {
    "email": lambda value, _: _EMAIL.search(value) is not None,
    "iban": lambda _, bare: _is_iban(bare),
    "codice_fiscale": lambda _, bare: _is_fiscal_code(bare),
    "partita_iva": lambda _, bare: _passes_luhn(bare.removeprefix("IT"), 11, 11),
    "card": lambda _, bare: _passes_luhn(bare, 13, 19),
    "phone": lambda value, _: _PHONE.fullmatch(value) is not None,
}


async def sample(connection: Connection, table: Table, columns: Sequence[Column]) -> dict[str, list[str]]:
    """Up to SAMPLE_ROWS rows of a table, as text, by column; NULL and empty values are left out.

    Raises:
        asyncpg.PostgresError: it may not be read.
    """
    wanted = [column for column in columns if column.family in FREE]
    if not wanted or table.foreign:
        return {}
    chosen = ", ".join(f"left({column.quoted}::text, 2000)" for column in wanted)
    rows = await connection.fetch(f"select {chosen} from {table.source} limit {SAMPLE_ROWS}")  # noqa: S608 - quoted
    return {column.name: [row[place] for row in rows if row[place]] for place, column in enumerate(wanted)}


def column_by_column(undecided: Undecided) -> list[Undecided]:
    """One for each column, where it is about a whole table."""
    if undecided.column is not None:
        return [undecided]
    return [Undecided(undecided.table, column, undecided.reason) for column in undecided.table.columns]


def propose(undecided: Undecided, values: Sequence[str] = ()) -> Proposal:
    """What to do with a column that nobody decided on, or not well; `values` is a sample of it.

    Raises:
        ValueError: it is a whole table.
    """
    column = undecided.column
    if column is None:
        raise ValueError("a table is decided on column by column")
    proposal = _by_looks(undecided, column, values)
    # what was decided already, and cannot be carried out, is no proposal
    return _cleared(undecided, column, undecided.reason) if proposal.decision == undecided.decision else proposal


def _by_looks(undecided: Undecided, column: Column, values: Sequence[str]) -> Proposal:
    if column.family is Family.JSON:
        return _cleared(undecided, column, "or name what is inside it: {mask: json, paths: {...}}")
    mask, reason = _mask_by_looks(column, values)
    if mask is not None:
        return _fitting(undecided, column, mask, reason)
    if column.family is None or column.family in DERIVED:
        return _cleared(undecided, column, reason)
    return Proposal(undecided, Decision(Do.KEEP), reason)


def _mask_by_looks(column: Column, values: Sequence[str]) -> tuple[str | None, str]:
    """The mask that its looks ask for, None: none; and why."""
    by_content = _by_content(values)
    key = column.family in {Family.NUMBER, Family.UUID} and _is_called(column.name, "id|uuid")
    by_name = next((mask for pattern, mask in _NAMES if _is_called(column.name, pattern) and not key), None)
    if by_content is not None:
        return by_content[0], f"{by_content[1]:.0%} of a sample look like it"
    if by_name is not None and column.family is not Family.BOOLEAN:
        return by_name, "its name says so"
    if column.family in FREE:
        return (None, "a few values that repeat") if _repeats(values) else ("text", "people may write anything in it")
    if column.family in DERIVED:
        return None, "it may be made from personal data"
    return None, "nothing personal" if column.family else f"nothing is known of the type {column.type}"


def _repeats(values: Sequence[str]) -> bool:
    """Whether they are of few words, as those of a status are."""
    return len(values) >= 50 and len(set(values)) <= 10


def decided(proposals: Sequence[Proposal]) -> TableDecision:
    """Proposals for the columns of one table, as the configuration takes them."""
    columns = {each.undecided.column.name: each.decision for each in proposals if each.undecided.column is not None}
    return TableDecision(columns)


def _by_content(values: Sequence[str]) -> tuple[str, float] | None:
    """The kind that most values are of, and the share that is."""
    found = dict.fromkeys(_CONTENTS, 0)
    for value in values:
        bare = _SEPARATORS.sub("", value).upper()
        for kind, matches in _CONTENTS.items():
            found[kind] += matches(value, bare)
    kind = max(found, key=found.__getitem__)
    share = found[kind] / len(values) if values else 0.0
    return (kind, share) if share >= _SHARE else None


def _is_called(name: str, pattern: str) -> bool:
    """Whether the pattern stands in the name as a word, of words joined by _ or by capitals."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return re.search(rf"(?:^|_)(?:{pattern})(?:$|_)", words) is not None


def _fitting(undecided: Undecided, column: Column, mask: str, reason: str) -> Proposal:
    """The mask; where it does not fit, one that does; where none does, nothing."""
    for each in (mask, "text", "hash", "bytes", "ip", "date_shift"):
        decision = Decision(Do.MASK, each)
        if unfit(column, decision, _LONG_DOMAIN) is None:
            return Proposal(undecided, decision, reason if each == mask else f"{reason}; {STRATEGIES[each].summary}")
    return _cleared(undecided, column, reason)


def _cleared(undecided: Undecided, column: Column, reason: str) -> Proposal:
    """NULL; where it must not be, a value that tells nothing."""
    value = {Family.JSON: "{}", Family.NUMBER: "0", Family.TIME: "1970-01-01"}.get(column.family or Family.TEXT, "")
    for decision in (Decision(Do.NULL), Decision(Do.MASK, "vector"), Decision(Do.MASK, "constant", value=value)):
        if unfit(column, decision, _LONG_DOMAIN) is None:
            return Proposal(undecided, decision, reason)
    return Proposal(undecided, Decision(Do.NULL), f"{reason}; nothing fits, so empty the table")
