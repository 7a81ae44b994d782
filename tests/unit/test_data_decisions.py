"""Decisions on data: what nobody decided on stops a refresh, and so does what cannot be carried out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fleet.data.decisions import Decisions, Do, read_decision, read_table
from fleet.data.tables import Column, ForeignKey, Table, find_table
from fleet.data.types import Family, family_of
from fleet.policy import TIER_DEFAULTS, DataPolicy, Policy, Tier


def column(name: str, family: Family | None = Family.TEXT, type_: str | None = None, **facts: Any) -> Column:
    kind = type_ or {Family.TEXT: "text", Family.NUMBER: "int8", Family.JSON: "jsonb"}.get(
        family or Family.TEXT, "text"
    )
    return Column(name, f'"{name}"', kind, kind, family, **facts)


def table(name: str, *columns: Column, **facts: Any) -> Table:
    quoted = f'"public"."{name}"'
    return Table("public", name, quoted, f"only {quoted}", columns, **facts)


def decisions(**tables: Any) -> Decisions:
    return Decisions({("public", name): read_table(each) for name, each in tables.items()})


def reasons(found: Decisions, *schema: Table) -> list[str]:
    return [str(each) for each in found.check_against(schema, "qa")]


USERS = table("users", column("id", Family.NUMBER, unique=True, not_null=True), column("email", unique=True))
DECIDED = {"id": "keep", "email": "mask:email"}


def test_what_is_decided_on_stops_nothing() -> None:
    assert reasons(decisions(users=DECIDED), USERS) == []


def test_a_table_that_nobody_decided_on() -> None:
    assert reasons(decisions(), USERS) == ["users: nobody decided on this table"]


def test_a_new_column() -> None:
    new = replace(USERS, columns=(*USERS.columns, column("nickname")))
    assert reasons(decisions(users=DECIDED), new) == ["users.nickname: nobody decided on this column (text)"]


def test_a_table_of_another_schema_is_another_table() -> None:
    assert reasons(decisions(users=DECIDED), replace(USERS, schema_name="crm")) == [
        "crm.users: nobody decided on this table"
    ]


def test_an_emptied_table_may_get_any_columns() -> None:
    assert reasons(decisions(users="empty"), replace(USERS, columns=(column("odd", None, "geometry"),))) == []


def test_a_whole_table_cannot_be_kept() -> None:
    with pytest.raises(ValueError, match="column by column"):
        read_table("keep")


@pytest.mark.parametrize(
    ("facts", "decision", "said"),
    [
        ({"family": None, "type_": "geometry"}, "keep", "nobody decided on the type geometry"),
        ({"family": None, "type_": "geometry"}, "mask:text", "does not fit"),
        ({"family": Family.JSON}, "keep:text", "was decided on as text, and now is jsonb"),
        ({"family": Family.JSON}, "mask:email", "mask:email does not fit the type jsonb"),
        ({"family": Family.TIME, "type_": "interval"}, "mask:date_shift", "does not fit"),
        ({"not_null": True}, "null", "must not be NULL"),
        ({"not_null": True}, "regenerate", "must not be NULL"),
        ({"unique": True}, "mask:name", "unique index"),
        ({"unique": True}, {"mask": "constant", "value": "x"}, "unique index"),
        ({"unique": True, "array": True}, "mask:email", "unique index"),
        ({"length": 20}, "mask:email", "needs 28 characters"),
        ({"length": 31}, "mask:hash", "needs 32 characters"),
        ({"length": 2}, {"mask": "constant", "value": "abc"}, "needs 3 characters"),
    ],
)
def test_a_decision_that_cannot_be_carried_out(facts: dict[str, Any], decision: Any, said: str) -> None:
    (found,) = reasons(decisions(t={"c": decision}), table("t", column("c", **facts)))
    assert said in found


@pytest.mark.parametrize(
    ("facts", "decision"),
    [
        ({"family": None, "type_": "geometry"}, "keep:geometry"),
        ({"family": None, "type_": "geometry"}, "null"),
        ({"unique": True}, "mask:email"),
        ({"unique": True, "length": 32}, "mask:hash"),
        ({"length": 28}, "mask:email"),
        ({"family": Family.NUMBER, "not_null": True}, {"mask": "constant", "value": 0}),
    ],
)
def test_a_decision_that_can(facts: dict[str, Any], decision: Any) -> None:
    assert reasons(decisions(t={"c": decision}), table("t", column("c", **facts))) == []


@pytest.mark.parametrize("family", [Family.VECTOR, Family.SEARCH])
def test_what_is_made_from_masked_text_may_not_be_kept(family: Family) -> None:
    notes = table("notes", column("body"), column("derived", family, "vector"))
    (found,) = reasons(decisions(notes={"body": "mask:text", "derived": "keep"}), notes)
    assert found == "notes.derived: is made from text that is masked here, and tells it"
    assert reasons(decisions(notes={"body": "mask:text", "derived": "regenerate"}), notes) == []
    assert reasons(decisions(notes={"body": "keep", "derived": "keep"}), notes) == []


def test_rows_may_not_refer_to_an_emptied_table() -> None:
    key = ForeignKey(("user_id",), ("public", "users"), ("id",))
    logs = table("logs", column("user_id", Family.NUMBER), foreign_keys=(key,))
    kept = decisions(users="empty", logs={"user_id": "keep"})
    assert reasons(kept, USERS, logs) == ["logs.user_id: refers to rows of public.users, which is emptied"]
    assert reasons(decisions(users="empty", logs={"user_id": "null"}), USERS, logs) == []


def test_both_ends_of_a_foreign_key_need_one_mask() -> None:
    key = ForeignKey(("mail",), ("public", "users"), ("email",))
    logs = table("logs", column("mail"), foreign_keys=(key,))
    assert reasons(decisions(users=DECIDED, logs={"mail": "mask:email"}), USERS, logs) == []
    (found,) = reasons(decisions(users=DECIDED, logs={"mail": "mask:hash"}), USERS, logs)
    assert found == "logs.mail: is mask:hash, but what it refers to, public.users.email, is mask:email"


def test_rows_of_another_server_are_never_copied() -> None:
    (found,) = reasons(decisions(users=DECIDED), replace(USERS, foreign=True))
    assert "on another server" in found


@pytest.mark.parametrize(
    "written",
    [
        "keep",
        "keep:hstore",
        "null",
        "regenerate",
        "mask:email",
        {"mask": "constant", "value": ""},
        {"mask": "date_shift", "days": 30},
        {"regenerate": "to_tsvector(body)"},
        {"mask": "json", "paths": {"a.b": "keep", "c.*": "mask:email"}},
    ],
)
def test_a_decision_is_written_as_it_is_read(written: Any) -> None:
    assert read_decision(written).written() == written


def test_nothing_written_is_null() -> None:
    assert read_decision(None).do is Do.NULL


@pytest.mark.parametrize(
    "written",
    [
        *("", "kept", "mask", "mask:emial", "mask:constant", "mask:json", "null:x", "regenerate:x", 7),
        *({}, {"mask": "x"}, {"mask": "email", "days": 3}, {"mask": "email", "regenerate": "x"}),
        *({"mask": "date_shift", "days": 0}, {"mask": "date_shift", "days": True}),
        *({"mask": "constant", "value": None}, {"mask": "json", "paths": {}}, {"mask": "json", "paths": ["a"]}),
        *({"mask": "json", "paths": {"a": "mask:vector"}}, {"mask": "json", "paths": {"a": "regenerate"}}),
        {"mask": "json", "paths": {"a": "keep", "a.b": "null"}},
    ],
)
def test_what_is_no_decision(written: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each says something else
        read_decision(written)


def test_types_that_only_look_like_known_ones_are_unknown() -> None:
    assert family_of("text", "b", "pg_catalog", None) is Family.TEXT
    assert family_of("text", "b", "public", None) is None
    assert family_of("citext", "b", "public", "citext") is Family.TEXT
    assert family_of("citext", "b", "public", None) is None
    assert family_of("mood", "e", "public", None) is Family.ENUM
    assert family_of("address", "c", "public", None) is None
    assert family_of("hstore", "b", "public", "hstore") is None


@pytest.mark.parametrize("tier", [Tier.DEVELOPMENT, Tier.QA, Tier.PREPROD])
def test_the_guide_keeps_knowledge_masks_users_and_empties_conversations(tier: Tier) -> None:
    columns = TIER_DEFAULTS[tier].data.columns
    assert [name for name, each in columns.items() if each.empty] == ["conversations", "messages"]
    assert columns["users"].written()["email"] == "mask:email"
    assert (columns["users"].written()["phone"], columns["users"].written()["address"]) == ("null", "null")
    for name in ("knowledge_items", "knowledge_chunks", "feed_status"):
        assert set(columns[name].written().values()) == {"keep"}


def test_production_has_no_decisions_and_so_nothing_may_come_there() -> None:
    assert TIER_DEFAULTS[Tier.PRODUCTION].data.columns == {}


def test_a_policy_survives_its_own_form() -> None:
    for policy in TIER_DEFAULTS.values():
        assert Policy.model_validate(policy.model_dump()) == policy


def test_a_policy_by_schema_and_name() -> None:
    data = DataPolicy.model_validate(
        {"columns": {"crm.people": "empty", "t": {"a": None}}, "email_domain": "qa.acme.it"}
    )
    assert set(data.decisions.tables) == {("crm", "people"), ("public", "t")}
    assert data.decisions.domain("qa") == "qa.acme.it"
    assert DataPolicy().decisions.domain("qa") == "qa.invalid"


def test_a_table_is_found_by_name() -> None:
    assert find_table([USERS], "users") is USERS
    assert find_table([USERS], "public.users") is USERS
    assert find_table([USERS], "crm.users") is None
