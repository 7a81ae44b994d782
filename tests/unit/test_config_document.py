import pytest

from daemon.config._document import MAX_BYTES, DocumentError, location_text, read_document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("22:00", "22:00"),  # YAML 1.1: 1320
        ("no", "no"),  # YAML 1.1: false
        ("0123", "0123"),  # YAML 1.1: 83
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("true", True),
        ("-12", -12),
        ("0.25", 0.25),
        (".5", 0.5),
        ("~", None),
        ("", None),
        ('"1"', "1"),
        ("9" * 40, "9" * 40),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    read = read_document(f"key: {text}").value["key"]
    assert (read, type(read)) == (value, type(value))


def test_knows_the_line_of_every_key() -> None:
    document = read_document("a:\n  b: 1\n  c:\n    - x\n    - y\n")
    lines = {location_text(at): document.line(at) for at in document.lines}
    assert lines == {"": 1, "a": 1, "a.b": 2, "a.c": 3, "a.c[0]": 4, "a.c[1]": 5}
    assert document.line(("a", "b", "missing", 3)) == 2


def test_a_key_that_stands_twice_is_told_and_the_first_counts() -> None:
    document = read_document("a: {x: 1}\nb: 2\na: {x: 3}\n")
    assert document.doubled == [(("a",), 3)]
    assert document.value == {"a": {"x": 1}, "b": 2}


def test_merging_keeps_what_is_written_beside_it() -> None:
    document = read_document("base: &base {a: 1, b: 2}\nother:\n  <<: *base\n  b: 3\n")
    assert document.value["other"] == {"a": 1, "b": 3}
    assert (document.line(("other", "a")), document.line(("other", "b"))) == (1, 4)
    assert read_document("x: {<<: [{a: 1}, {a: 2, b: 2}]}").value["x"] == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("a: 1\n b: [2\n", "broken YAML: mapping values are not allowed here, column 3", 2),
        ("a: [1, 2\nb: 3", "broken YAML", 2),
        ("a: *nothing", "undefined alias", 1),
        ("a: 1\nb: \x07", "a character that YAML does not allow", 2),
        ("a: 1\n---\nb: 2\n", "single document", 2),
        ("a: !!python/object/apply:os.system [id]", "a tag", 1),
        ("a: !!timestamp 2024-01-01", "a tag", 1),
        ("a: !!int many", "a tag", 1),
        ("? [a]\n: b", "a key must be a word", 1),
        ("a:\n  <<: 3", "takes a mapping", 2),
    ],
)
def test_broken_yaml_is_one_error_with_its_line(text: str, said: str, line: int) -> None:
    with pytest.raises(DocumentError, match=said) as raised:
        read_document(text)
    assert raised.value.line == line


def test_errors_quote_no_word_of_the_text() -> None:
    with pytest.raises(DocumentError) as raised:
        read_document("password: *hunter2")
    assert "hunter2" not in raised.value.message


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{c}: &{c} [{','.join([f'*{p}'] * 9)}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)),
        "a: &a [*a]",
        "a: &a {b: *a}",
        "[" * 200_000,
        "- " * 200_000,
        "{a: " * 100_000,
        "x: " + "[" * 60 + "]" * 60,
    ],
    ids=["laughs", "itself", "itself in a mapping", "brackets", "dashes", "braces", "too deep"],
)
def test_bombs_are_refused(text: str) -> None:
    """One that is let off would fill the memory, or go on until the suite's limit of time."""
    with pytest.raises(DocumentError):
        read_document(text)


def test_the_largest_file_is_read() -> None:
    text = "".join(f"key{n}: value of key {n}\n" for n in range(24_000))
    assert 0.9 * MAX_BYTES < len(text) + 24_000 < 2 * MAX_BYTES
    assert len(read_document(text).value) == 24_000


def test_a_value_that_became_a_key_is_not_shown_whole() -> None:
    assert location_text(("environments", "qa", "dsn:postgresql://u:pw@h/d")) == "environments.qa.dsn…"
    assert location_text(("environments", "qa", "databases", 0)) == "environments.qa.databases[0]"
