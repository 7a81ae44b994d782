"""Catalogues compared: each difference is found and named, plain renames are, and what is ignored is not told."""

from collections.abc import Mapping

import pytest

from fleet.schema import Catalogue, Difference, Flight, Kind, SchemaObject, compare, render, settled, tally

BOOKS, AUTHORS = "public.books", "public.authors"


def make(kind: Kind, name: str, table: str | None = None, /, **definition: str) -> SchemaObject:
    return SchemaObject(kind, name, table, {part.replace("_", " "): text for part, text in definition.items()})


def table(name: str, columns: Mapping[str, str]) -> list[SchemaObject]:
    return [make("table", name, name), *(make("column", column, name, type=type_) for column, type_ in columns.items())]


BASE = [
    *table(BOOKS, {"id": "bigint", "title": "text", "year": "integer"}),
    *table(AUTHORS, {"id": "bigint", "born": "date"}),
    make("constraint", "books_pkey", BOOKS, definition="PRIMARY KEY (id)"),
    make("index", "public.books_title", BOOKS, definition="USING btree (title)"),
    make("index", "public.books_year", BOOKS, definition="USING btree (year)", where="(year > 0)"),
    make("sequence", "public.counter", type="bigint"),
    make("function", "public.f(integer)", form="FUNCTION", definition="CREATE OR REPLACE FUNCTION public.f(i integer)"),
]


def catalogue(*objects: SchemaObject, without: tuple[str, ...] = (), version: int = 18) -> Catalogue:
    """BASE with `objects` in place of those of the same key, without those at the paths."""
    found = {one.key: one for one in (*BASE, *objects) if one.path not in without}
    return Catalogue.of(found.values(), version)


def told(differences: list[Difference]) -> list[tuple[str, str, str]]:
    return [(one.kind, one.object, one.change) for one in differences]


def test_equal_schemas_differ_in_nothing_whatever_their_order() -> None:
    again = Catalogue.of(reversed(BASE), 18)
    assert compare(again, catalogue()) == []
    assert again.fingerprint == catalogue().fingerprint
    assert len(again.fingerprint) == 64


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (catalogue(make("column", "x", BOOKS, type="text")), ("column", f"{BOOKS}.x", "extra")),
        (catalogue(without=(f"{BOOKS}.year",)), ("column", f"{BOOKS}.year", "missing")),
        (catalogue(make("column", "year", BOOKS, type="bigint")), ("column", f"{BOOKS}.year", "changed")),
        (catalogue(without=("public.books_year",)), ("index", "public.books_year", "missing")),
        (
            catalogue(make("index", "public.books_year", BOOKS, definition="USING btree (year)")),
            ("index", "public.books_year", "changed"),
        ),
        (catalogue(make("view", "public.v", "public.v", query="SELECT 1;")), ("view", "public.v", "extra")),
        (catalogue(make("schema", "app")), ("schema", "app", "extra")),
        (catalogue(*table("public.more", {"id": "uuid"})), ("table", "public.more", "extra")),
    ],
    ids=["column+", "column-", "type", "index-", "predicate", "view+", "schema+", "table+"],
)
def test_one_change_is_one_difference(actual: Catalogue, expected: tuple[str, str, str]) -> None:
    assert told(compare(actual, catalogue())) == [expected]
    assert actual.fingerprint != catalogue().fingerprint
    back = {"missing": "extra", "extra": "missing", "changed": "changed"}
    assert told(compare(catalogue(), actual)) == [(*expected[:2], back[expected[2]])]


def test_a_missing_table_is_one_difference_that_counts_its_parts() -> None:
    actual = Catalogue.of([one for one in BASE if one.table != BOOKS], 18)
    (found,) = compare(actual, catalogue())
    assert (found.object, found.change) == (BOOKS, "missing")
    assert found.details == ("column: 3", "constraint: 1", "index: 2")
    assert tally([found]) == {("table", "missing"): 1}


def test_a_difference_holds_both_sides_and_the_parts() -> None:
    (found,) = compare(catalogue(make("column", "year", BOOKS, type="bigint", not_null="NOT NULL")), catalogue())
    assert found.details == ("not null", "type")
    assert found.was is not None
    assert found.is_ is not None
    assert (found.was.definition["type"], found.is_.definition["type"]) == ("bigint", "integer")


def renamed(old: str, new: str) -> Catalogue:
    """BASE as it is where one name was not renamed from `old` to `new` yet."""

    def text(value: str) -> str:
        return value.replace(new, old)

    return Catalogue.of(
        [
            SchemaObject(
                one.kind,
                text(one.name),
                one.table and text(one.table),
                {part: text(value) for part, value in one.definition.items()},
            )
            for one in BASE
        ],
        18,
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("published", "year", ("column", f"{BOOKS}.year", "renamed")),
        ("public.writers", AUTHORS, ("table", AUTHORS, "renamed")),
        ("public.numbers", "public.counter", ("sequence", "public.counter", "renamed")),
        ("primary_of_books", "books_pkey", ("constraint", f"{BOOKS}.books_pkey", "renamed")),
        ("public.g(", "public.f(", ("function", "public.f(integer)", "renamed")),
    ],
    ids=["column", "table", "sequence", "constraint", "function"],
)
def test_a_plain_rename_is_one_difference(old: str, new: str, expected: tuple[str, str, str]) -> None:
    found = compare(renamed(old, new), catalogue())
    if expected[0] == "column":  # the index of this name was renamed with it
        found = [one for one in found if one.kind != "index"]
    assert told(found) == [expected]


def test_what_mentions_a_renamed_column_is_no_difference() -> None:
    actual = catalogue(
        make("column", "published", BOOKS, type="integer"),
        make("index", "public.books_year", BOOKS, definition="USING btree (published)", where="(published > 0)"),
        without=(f"{BOOKS}.year",),
    )
    (found,) = compare(actual, catalogue())
    assert (found.kind, found.change, found.details) == ("column", "renamed", (f"{BOOKS}.published -> {BOOKS}.year",))


def test_a_renamed_table_is_compared_under_its_new_name() -> None:
    actual = [*renamed("public.writers", AUTHORS).objects, make("column", "died", BOOKS, type="date")]
    assert told(compare(Catalogue.of(actual, 18), catalogue())) == [
        ("column", f"{BOOKS}.died", "extra"),
        ("table", AUTHORS, "renamed"),
    ]


def test_a_rename_that_may_be_another_is_none() -> None:
    two = [make("column", name, BOOKS, type="integer") for name in ("published", "printed")]
    actual = catalogue(*two, without=(f"{BOOKS}.year",))
    assert [(path, change) for _, path, change in told(compare(actual, catalogue())) if change == "renamed"] == []
    assert tally(compare(actual, catalogue())) == {("column", "extra"): 2, ("column", "missing"): 1}


@pytest.mark.parametrize(
    ("pattern", "quiet"),
    [
        ("index:public.books_*", True),
        ("*:public.books_*", True),
        ("table:public.books", True),
        ("index:public.authors_*", False),
        ("column:public.books_year", False),
    ],
)
def test_what_is_ignored_is_not_told(pattern: str, quiet: bool) -> None:
    found = compare(catalogue(without=("public.books_year",)), catalogue(), ignore=[pattern])
    assert (found == []) is quiet


def test_a_column_is_ignored_by_its_path() -> None:
    actual = catalogue(make("column", "x", BOOKS, type="text"))
    assert compare(actual, catalogue(), ignore=["column:public.books.x"]) == []


def test_extensions_are_compared_and_not_hashed() -> None:
    actual = catalogue(make("extension", "vector", version="0.5.0"))
    assert actual.fingerprint == catalogue().fingerprint
    wanted = catalogue(make("extension", "vector", version="0.8.0"))
    assert told(compare(actual, wanted)) == [("extension", "vector", "changed")]


def test_views_of_servers_that_qualify_differently_are_equal() -> None:
    old = make("view", "public.v", "public.v", query=" SELECT books.id\n   FROM public.books;")
    new = make("view", "public.v", "public.v", query=" SELECT id\n   FROM public.books;")
    other = make("view", "public.v", "public.v", query=" SELECT year\n   FROM public.books;")
    assert compare(catalogue(old, version=15), catalogue(new, version=18)) == []
    assert told(compare(catalogue(old, version=15), catalogue(other, version=18))) == [("view", "public.v", "changed")]
    assert told(compare(catalogue(old, version=18), catalogue(new, version=18))) == [("view", "public.v", "changed")]


def test_an_index_under_construction_is_no_difference() -> None:
    found = compare(catalogue(without=("public.books_year", "public.counter")), catalogue())
    building = Flight(migrating=False, building=frozenset({BOOKS}))
    assert told(settled(found, building)) == [("sequence", "public.counter", "missing")]
    assert settled(found, Flight(migrating=False, building=frozenset({AUTHORS}))) == found


def test_a_diff_is_read_by_people() -> None:
    actual = catalogue(
        make("column", "year", BOOKS, type="bigint"),
        make("function", "public.f(integer)", form="FUNCTION", definition="CREATE OR REPLACE FUNCTION\nreturn 1\nend"),
        make("constraint", "books_key", BOOKS, definition="PRIMARY KEY (id)"),
        without=("public.books_title", f"{BOOKS}.books_pkey"),
    )
    wanted = catalogue(
        make("function", "public.f(integer)", form="FUNCTION", definition="CREATE OR REPLACE FUNCTION\nreturn 2\nend")
    )
    assert render(compare(actual, wanted)) == (
        "~ column public.books.year: changed\n"
        "    - type: bigint\n"
        "    + type: integer\n"
        "> constraint public.books.books_pkey: renamed, is called public.books.books_key\n"
        "~ function public.f(integer): changed\n"
        "    definition:\n"
        "      CREATE OR REPLACE FUNCTION\n"
        "    - return 1\n"
        "    + return 2\n"
        "      end\n"
        "+ index public.books_title: missing\n"
        "    + definition: USING btree (title)"
    )
    assert render([]) == ""


def test_names_that_a_terminal_would_obey_are_escaped() -> None:
    actual = catalogue(make("column", '"\x1b[2Jx\n"', BOOKS, type="text"))
    assert render(compare(actual, catalogue())).startswith(r'- column public.books."\x1b[2Jx\n": extra')
