"""Proposals by name, type and content: for a person to read, and never what the values are."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.data.classify import propose
from fleet.data.decisions import Decision, Do, Undecided
from fleet.data.tables import Column, Table
from fleet.data.types import Family


def proposed(name: str, family: Family | None = Family.TEXT, values: list[str] | None = None, **facts: Any) -> Any:
    base = facts.pop("base", str(family))
    column = Column(name, f'"{name}"', base, base, family, **facts)
    table = Table("public", "t", '"public"."t"', 'only "public"."t"', (column,))
    return propose(Undecided(table, column, "nobody decided"), values or []).decision.written()


@pytest.mark.parametrize(
    ("name", "decision"),
    [
        *(("email", "mask:email"), ("contactEmail", "mask:email"), ("pec", "mask:email")),
        *(("telefono", "mask:phone"), ("mobile_phone", "mask:phone"), ("iban", "mask:iban")),
        *(("codice_fiscale", "mask:codice_fiscale"), ("p_iva", "mask:partita_iva"), ("vat_number", "mask:partita_iva")),
        *(("card_number", "mask:card"), ("remote_addr", "mask:ip"), ("password_hash", "mask:hash")),
        *(("cognome", "mask:name"), ("full_name", "mask:name"), ("indirizzo", "mask:text"), ("whatever", "mask:text")),
    ],
)
def test_by_name(name: str, decision: str) -> None:
    assert proposed(name) == decision


@pytest.mark.parametrize(
    ("value", "decision"),
    [
        ("mario@rossi.it", "mask:email"),
        ("+39 347 1234567", "mask:phone"),
        ("IT60 X054 2811 1010 0000 0123 456", "mask:iban"),
        ("RSSMRA85T10A562S", "mask:codice_fiscale"),
        ("IT00743110157", "mask:partita_iva"),
        ("4111 1111 1111 1111", "mask:card"),
    ],
)
def test_content_counts_more_than_a_name(value: str, decision: str) -> None:
    assert proposed("surname", values=[value] * 3 + ["?"] * 7) == decision
    assert proposed("surname", values=[value] + ["?"] * 9) == "mask:name"


def test_numbers_with_wrong_check_digits_are_no_sign() -> None:
    assert proposed("x", values=["IT61X0542811101000000123456"] * 9) == "mask:text"
    assert proposed("x", values=["RSSMRA85T10A562T"] * 9) == "mask:text"


def test_a_few_words_that_repeat_may_be_kept() -> None:
    assert proposed("state", values=["paid", "open"] * 30) == "keep"
    assert proposed("state", values=["paid", "open"]) == "mask:text"


@pytest.mark.parametrize(
    ("name", "family", "facts", "decision"),
    [
        ("count", Family.NUMBER, {}, "keep"),
        ("session_id", Family.NUMBER, {}, "keep"),
        ("zip", Family.NUMBER, {}, "null"),
        ("zip", Family.NUMBER, {"not_null": True}, {"mask": "constant", "value": "0"}),
        ("created_at", Family.TIME, {"base": "timestamptz"}, "keep"),
        ("birth_date", Family.TIME, {"base": "date"}, {"mask": "date_shift", "days": 365}),
        ("email_verified", Family.BOOLEAN, {}, "keep"),
        ("profile", Family.JSON, {}, "null"),
        ("profile", Family.JSON, {"not_null": True}, {"mask": "constant", "value": "{}"}),
        ("data", Family.BYTES, {}, "mask:hash"),
        ("photo", Family.BYTES, {}, "mask:bytes"),
        ("embedding", Family.VECTOR, {"base": "vector"}, "null"),
        ("embedding", Family.VECTOR, {"base": "vector", "not_null": True}, "mask:vector"),
        ("place", None, {"base": "geometry"}, "null"),
        ("nickname", Family.TEXT, {"unique": True}, "mask:hash"),
        ("code", Family.TEXT, {"length": 3}, "mask:text"),
    ],
)
def test_by_type(name: str, family: Family | None, facts: dict[str, Any], decision: Any) -> None:
    assert proposed(name, family, **facts) == decision


def test_what_was_decided_and_does_not_work_is_not_proposed_again() -> None:
    column = Column("user_id", '"user_id"', "bigint", "int8", Family.NUMBER)
    table = Table("public", "t", '"public"."t"', 'only "public"."t"', (column,))
    undecided = Undecided(table, column, "refers to rows of public.users, which is emptied", Decision(Do.KEEP))
    assert propose(undecided).decision.do is Do.NULL
