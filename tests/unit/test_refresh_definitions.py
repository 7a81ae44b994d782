"""Owners of the source are told from everything else that pg_dump writes."""

from __future__ import annotations

import asyncpg
import pytest

from actions._refresh_copy import without_rows
from actions._refresh_definitions import is_owner


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE public.users OWNER TO app;",
        'ALTER TABLE public."odd; "" name" OWNER TO "App; x";',
        "--\n-- a comment\n--\nALTER FUNCTION public.noted(integer, text) OWNER TO app;",
        "ALTER MATERIALIZED VIEW public.v OWNER TO app;",
    ],
)
def test_what_gives_an_owner(statement: str) -> None:
    assert is_owner(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE ONLY public.users ALTER COLUMN note SET DEFAULT ' OWNER TO app';",
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ ALTER TABLE x OWNER TO app; $$;",
        "ALTER TABLE ONLY public.users ADD CONSTRAINT users_pkey PRIMARY KEY (id);",
        "CREATE TABLE public.users (id integer);",
        "",
    ],
)
def test_what_does_not(statement: str) -> None:
    assert not is_owner(statement)


def test_an_error_is_told_without_the_row() -> None:
    error = asyncpg.NotNullViolationError("null value in row (1, mario@rossi.it)")
    fields = {"table_name": "users", "column_name": "phone", "detail": "Failing row contains (1, mario@rossi.it)"}
    error.__dict__.update(fields)
    assert without_rows(error) == "NotNullViolation, table users, column phone"
