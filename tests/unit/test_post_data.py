"""pg_dump's SQL is split where its entries begin, and nowhere else."""

from __future__ import annotations

import pytest

from fleet.backups.post_data import Entry, Phase, SplitError, by_phase, parse, statements

TOP = "--\n-- PostgreSQL database dump\n--\n\nSET client_encoding = 'UTF8';\nSET row_security = off;\n\n"
END = "\n\n--\n-- PostgreSQL database dump complete\n--\n\n"


def entry(name: str, kind: str, sql: str, schema: str = "public") -> str:
    return f"--\n-- Name: {name}; Type: {kind}; Schema: {schema}; Owner: me\n--\n\n{sql}\n\n\n"


def test_entries_in_order() -> None:
    script = parse(
        TOP
        + entry("a a_pkey", "CONSTRAINT", "ALTER TABLE a ADD PRIMARY KEY (id);")
        + entry("i", "INDEX", "CREATE INDEX i ON a (x);")
        + END
    )
    assert "SET row_security = off;" in script.preamble
    assert [(one.name, one.kind, one.schema, one.sql.strip()) for one in script.entries] == [
        ("a a_pkey", "CONSTRAINT", "public", "ALTER TABLE a ADD PRIMARY KEY (id);"),
        ("i", "INDEX", "public", "CREATE INDEX i ON a (x);"),
    ]


def test_an_entry_within_a_text_is_none() -> None:
    fake = entry("b", "INDEX", "CREATE INDEX b ON a (x);")
    for quoted in (
        f"'it''s {fake}'",
        f'"{fake}"',
        f"$x${fake}$x$",
        f"$${fake}$$",
        f"E'\\'{fake}'",
        f"/* /* {fake} */ */ ''",
    ):
        sql = f"COMMENT ON INDEX i IS {quoted};"
        script = parse(TOP + entry("INDEX i", "COMMENT", sql) + entry("z", "TRIGGER", "CREATE TRIGGER z;") + END)
        assert [one.name for one in script.entries] == ["INDEX i", "z"], quoted
        assert script.entries[0].sql.strip() == sql


def test_a_statement_of_several_lines_and_semicolons_is_one() -> None:
    rule = "CREATE RULE r AS ON INSERT TO a DO ( NOTIFY x; NOTIFY y; );"
    (one,) = parse(TOP + entry("a r", "RULE", rule) + END).entries
    assert statements(one.sql) == [rule]
    function = "CREATE FUNCTION f() AS $_$ begin; -- ' \n end; $_$;\n\n\nALTER FUNCTION f() OWNER TO me;"
    (one,) = parse(TOP + entry("f()", "FUNCTION", function) + END).entries
    assert len(statements(one.sql)) == 2


def test_settings_between_entries_are_of_all_that_follow() -> None:
    space = "SET default_tablespace = 'fast';\n\n"
    text = TOP + "SET default_tablespace = '';\n\n" + entry("i", "INDEX", "CREATE INDEX i ON a (x);\n\n\n" + space)
    text += entry("j", "INDEX", "CREATE INDEX j ON a (x);\n\nSET default_tablespace = '';") + entry(
        "k", "INDEX", "CREATE INDEX k ON a (x);"
    )
    i, j, k = parse(text + END).entries
    assert (i.settings, j.settings, k.settings) == (
        (),
        ("SET default_tablespace = 'fast';",),
        ("SET default_tablespace = '';",),
    )
    assert i.sql.strip() == "CREATE INDEX i ON a (x);"
    assert "SET default_tablespace = '';" in parse(text + END).preamble


@pytest.mark.parametrize(
    "broken",
    [
        entry("i", "INDEX", "CREATE INDEX i ON a (x)"),
        entry("i", "COMMENT", "COMMENT ON INDEX i IS 'open;"),
        entry("i", "COMMENT", "COMMENT ON INDEX i IS $a$ open;"),
        entry("i", "INDEX", "CREATE INDEX i ON a ((x);"),
        entry("i", "INDEX", "CREATE INDEX i ON a (x); /* open"),
        "CREATE INDEX i ON a (x);",
    ],
)
def test_what_does_not_split_is_told(broken: str) -> None:
    with pytest.raises(SplitError):
        parse(TOP + broken + END)


def test_nothing_to_do_is_no_error() -> None:
    assert parse("--\n-- PostgreSQL database dump\n--\n").entries == ()


def test_phases() -> None:
    text = TOP + "".join(
        (
            entry("v", "INDEX", "CREATE INDEX v ON public.a USING hnsw (e public.vector_l2_ops);"),
            entry("INDEX v", "COMMENT", "COMMENT ON INDEX public.v IS 'x';"),
            entry("v_1", "INDEX", "CREATE INDEX v_1 ON public.a_1 USING ivfflat (e public.vector_l2_ops);"),
            entry("v_1", "INDEX ATTACH", "ALTER INDEX public.v ATTACH PARTITION public.v_1;"),
            entry("i", "INDEX", "CREATE INDEX i ON public.a USING btree (x) WHERE (y = 'USING hnsw');"),
            entry("INDEX i", "COMMENT", "COMMENT ON INDEX public.i IS 'x';"),
            entry("i_1", "INDEX ATTACH", "ALTER INDEX public.i ATTACH PARTITION public.i_1;"),
            entry("a a_fkey", "FK CONSTRAINT", "ALTER TABLE a ADD FOREIGN KEY (x) REFERENCES b(x);"),
            entry("a a_check", "CHECK CONSTRAINT", "ALTER TABLE a ADD CHECK (x > 0) NOT VALID;"),
            entry("a t", "TRIGGER", "CREATE TRIGGER t;"),
        )
    )
    found = by_phase(parse(text + END).entries)
    said = {phase: [f"{one.kind} {one.name}" for one in entries] for phase, entries in found.items()}
    assert said == {
        Phase.INDEX: ["INDEX i"],
        Phase.ATTACH: ["INDEX ATTACH i_1"],
        Phase.FOREIGN_KEY: ["FK CONSTRAINT a a_fkey"],
        Phase.REST: ["COMMENT INDEX i", "CHECK CONSTRAINT a a_check", "TRIGGER a t"],
        Phase.VECTOR_INDEX: ["INDEX v", "COMMENT INDEX v", "INDEX v_1", "INDEX ATTACH v_1"],
    }


@pytest.mark.parametrize(
    ("sql", "changed"),
    [
        ("CREATE INDEX i ON a USING hnsw (x);", "CREATE INDEX CONCURRENTLY i ON a USING hnsw (x);"),
        ("\n\nCREATE UNIQUE INDEX i ON a (x);", "CREATE UNIQUE INDEX CONCURRENTLY i ON a (x);"),
        ("CREATE INDEX i ON ONLY a USING hnsw (x);", None),
        ("CREATE INDEX i ON a (x);\nALTER TABLE a CLUSTER ON i;", None),
        ("ALTER INDEX i ATTACH PARTITION j;", None),
    ],
)
def test_built_beside_the_traffic(sql: str, changed: str | None) -> None:
    assert Entry("i", "INDEX", "public", sql).concurrently() == changed
