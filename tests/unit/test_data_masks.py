"""Masks: the same for the same value, in its shape, right by checksum, and nobody's."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.data.checksums import iban_digits, italian_letter, luhn
from fleet.data.decisions import Decisions, read_decision, read_table
from fleet.data.masks import Masker, read_key
from fleet.data.tables import Column, Table
from fleet.data.types import Family
from fleet.errors import ActionError

KEY = b"k" * 32
SAMPLES = {
    "email": "mario.rossi@studiorossi.it",
    "phone": "+39 347 123 4567",
    "name": "Mario Rossi",
    "iban": "IT60 X054 2811 1010 0000 0123 456",
    "codice_fiscale": "RSSMRA85T10A562S",
    "partita_iva": "IT 00743110157",
    "card": "4111-1111-1111-1111",
    "ip": "93.184.216.34",
    "text": "Mario Rossi abita in via Garibaldi",
    "hash": "$2b$12$abc",
}


def masker(tier: str = "qa", key: bytes = KEY, **tables: Any) -> Masker:
    return Masker(Decisions({("public", name): read_table(each) for name, each in tables.items()}), key, tier)


def text(name: str = "c", base: str = "text", family: Family = Family.TEXT, **facts: Any) -> Column:
    return Column(name, f'"{name}"', base, base, family, **facts)


def masked(decision: Any, value: str, column: Column | None = None, by: Masker | None = None) -> str:
    return (by or masker()).mask(column or text(), read_decision(decision))(value)


def table(*columns: Column) -> Table:
    return Table("public", "t", '"public"."t"', 'only "public"."t"', columns)


@pytest.mark.parametrize("mask", SAMPLES)
def test_the_same_value_has_the_same_mask_and_it_tells_nothing(mask: str) -> None:
    value = SAMPLES[mask]
    made = masked(f"mask:{mask}", value)
    assert made == masked(f"mask:{mask}", value)
    assert not set(re.findall(r"\w{4,}", value.lower())) & set(re.findall(r"\w{4,}", made.lower()))


@pytest.mark.parametrize("mask", [each for each in SAMPLES if each != "text"])
def test_another_key_or_tier_is_another_mask(mask: str) -> None:
    made = {
        masked(f"mask:{mask}", SAMPLES[mask], by=each) for each in (masker(), masker("preprod"), masker(key=b"x" * 32))
    }
    assert len(made) == 3


@pytest.mark.parametrize(
    ("mask", "value", "shape"),
    [
        ("email", "Mario@x.it", r"u[a-z2-7]{16}@qa\.invalid"),
        ("email", "no address", r"u[a-z2-7]{16}@qa\.invalid"),
        ("phone", "+39 347 123 4567", r"\+39 99\d \d{3} \d{4}"),
        ("phone", "0039-06-12345678", r"0039-99-\d{8}"),
        ("phone", "347/1234567", r"99\d/\d{7}"),
        ("phone", "+1 (415) 555-2671", r"\+3 \(999\) \d{3}-\d{4}"),
        ("phone", "112", r"99\d{7}"),
        ("phone", "call Mario at home", r"\+3999\d{8}"),
        ("name", "Mario Rossi", r"([JKWXYZ][aeiou])([jkwxyz][aeiou]){2} [JKWXYZ][aeiou]([jkwxyz][aeiou]){2}"),
        ("name", "ROSSI", r"([JKWXYZ][AEIOU]){3}"),
        ("iban", "GB29 NWBK 6016 1331 9268 19", r"GB\d\d XXXX \d{4} \d{4} \d{4} \d\d"),
        ("iban", "DE89370400440532013000", r"DE\d\d0000\d{14}"),
        ("iban", "none", r"IT\d\d[A-Z]00000\d{17}"),
        ("codice_fiscale", "rssmra85t10a562s", r"[a-z]{6}\d\d[a-z]\d\dx\d{3}[a-z]"),
        ("codice_fiscale", "00743110157", r"\d{7}[2-7]\d\d\d"),
        ("partita_iva", "IT 00743110157", r"IT \d{7}[2-7]\d\d\d"),
        ("card", "3782 822463 10005", r"99\d\d \d{6} \d{5}"),
        ("ip", "93.184.216.34", r"198\.1[89]\.\d+\.\d+"),
        ("ip", "2606:2800:220:1::1", r"2001:db8:[0-9a-f:]+"),
        ("hash", "secret", r"[0-9a-f]{32}"),
    ],
)
def test_shapes(mask: str, value: str, shape: str) -> None:
    made = masked(f"mask:{mask}", value)
    assert re.fullmatch(shape, made), made


def test_checksums_of_known_numbers() -> None:
    assert iban_digits("IT", "X0542811101000000123456") == "60"
    assert iban_digits("GB", "NWBK60161331926819") == "29"
    assert italian_letter("0542811101000000123456") == "X"
    assert italian_letter("RSSMRA85T10A562") == "S"
    assert luhn("0074311015") == "7"
    assert luhn("411111111111111") == "1"


@given(st.text(min_size=1, max_size=40))
def test_numbers_are_right_by_checksum_whatever_they_replace(value: str) -> None:
    iban = masked("mask:iban", value)
    assert iban[2:4] == iban_digits(iban[:2], iban[4:])
    assert iban[4] == italian_letter(iban[5:])
    person = masked("mask:codice_fiscale", value)
    assert person[15].upper() == italian_letter(person[:15].upper())
    company = masked("mask:partita_iva", value)
    assert company[-1] == luhn(company[:-1])
    card = masked("mask:card", value)
    assert card[-1] == luhn(card[:-1])


@pytest.mark.parametrize("mask", ["phone", "partita_iva", "card"])
def test_different_values_stay_different_where_there_is_little_room(mask: str) -> None:
    by = masker()
    values = [f"0{number:09}" for number in range(30_000)] if mask == "phone" else [f"{n:011}00" for n in range(30_000)]
    values = [value[:11] for value in values] if mask == "partita_iva" else values
    mask_of = by.mask(text(), read_decision(f"mask:{mask}"))
    made = [mask_of(value) for value in values]
    assert len(set(made)) == len(set(values))
    assert made == [mask_of(value) for value in values]


def test_threads_agree_on_masks() -> None:
    mask = masker().mask(text(), read_decision("mask:partita_iva"))
    values = [f"{number:011}" for number in range(3000)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: [mask(value) for value in values], range(8)))
    assert all(each == made[0] for each in made)


def test_one_number_is_masked_alike_however_it_is_written() -> None:
    by = masker()
    written = ("+39 347 1234567", "+39-347-1234567", "+393471234567")
    assert len({re.sub(r"\D", "", masked("mask:phone", value, by=by)) for value in written}) == 1
    assert (
        len({masked("mask:iban", v, by=by).replace(" ", "") for v in (SAMPLES["iban"], "IT60X0542811101000000123456")})
        == 1
    )


def test_what_citext_takes_for_equal_stays_equal() -> None:
    folded = text(base="citext")
    assert masked("mask:email", "Mario@X.it", folded) == masked("mask:email", "mario@x.it", folded)
    assert masked("mask:email", "Mario@X.it") != masked("mask:email", "mario@x.it")


def test_a_padded_value_is_masked_as_without_its_padding() -> None:
    assert masked("mask:hash", "abc   ", text(base="bpchar")) == masked("mask:hash", "abc")


@given(st.text(min_size=1, max_size=900))
def test_filler_is_as_long_as_the_text(value: str) -> None:
    assert len(masked("mask:text", value)) == len(value)


@given(st.text(min_size=1, max_size=60), st.integers(6, 40))
def test_a_name_fits_its_column(value: str, room: int) -> None:
    assert len(masked("mask:name", value, text(length=room))) <= room


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ("2024-02-29", r"\d{4}-\d\d-\d\d"),
        ("1985-12-10 08:30:00.5+01", r"\d{4}-\d\d-\d\d 08:30:00\.5\+01"),
        ("infinity", "1970-01-01"),
        ("0044-03-15 BC", "1970-01-01"),
        ("9999-12-31", r"(9999|9998)-\d\d-\d\d|1970-01-01"),
        ("12024-01-01", "1970-01-01"),
    ],
)
def test_days_are_moved(value: str, shape: str) -> None:
    made = masked("mask:date_shift", value, text(base="date", family=Family.TIME))
    assert re.fullmatch(shape, made)
    assert made != value


def test_days_are_moved_by_no_more_than_was_said() -> None:
    days = {
        masked({"mask": "date_shift", "days": 1}, f"2024-05-{day:02}", text(family=Family.TIME)) for day in range(2, 30)
    }
    assert days <= {f"2024-05-{day:02}" for day in range(1, 31)}
    assert len(days) > 5


def test_bytes_uuids_and_vectors() -> None:
    assert re.fullmatch(r"\\x[0-9a-f]{6}", masked("mask:bytes", r"\x414243", text(base="bytea", family=Family.BYTES)))
    assert re.fullmatch(r"\\x[0-9a-f]{64}", masked("mask:hash", r"\x41", text(base="bytea", family=Family.BYTES)))
    uuid = masked("mask:hash", "6f1c2d2e-0000-4000-8000-000000000001", text(base="uuid", family=Family.UUID))
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", uuid)
    vector = masked("mask:vector", "[0.1,0.2,0.3]", text(base="vector", family=Family.VECTOR))
    numbers = [float(each) for each in vector.strip("[]").split(",")]
    assert len(numbers) == 3
    assert sum(each * each for each in numbers) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("value", "made"),
    [
        ("{}", "{}"),
        ("{a,NULL}", '{"#",NULL}'),
        ('{"NULL",b}', '{"#","#"}'),
        ('{{a,"b,c"},{"d\\"}",e f}}', '{{"#","#"},{"#","#"}}'),
        ("[0:1]={a,b}", '[0:1]={"#","#"}'),
        ('{"",a}', '{"","#"}'),
        (r"{a\"b}", '{"#"}'),
    ],
)
def test_arrays(value: str, made: str) -> None:
    assert masked({"mask": "constant", "value": "#"}, value, text(array=True)) == made


def test_an_element_is_masked_as_the_value_alone() -> None:
    by = masker()
    assert masked("mask:email", '{"a@b.it"}', text(array=True), by) == f'{{"{masked("mask:email", "a@b.it", by=by)}"}}'


def test_of_json_only_what_was_decided_on_is_left() -> None:
    paths = {
        "prefs.theme": "keep",
        "contacts.mail": "mask:email",
        "tags.*": {"mask": "constant", "value": "#"},
        "gone": "null",
    }
    value = (
        '{"prefs": {"theme": "dark", "secret": 1}, "contacts": [{"mail": "a@b.it", "name": "Mario"}, {"mail": null}],'
        ' "tags": {"x": ["Mario", 7], "y": {"z": 1}}, "gone": "x", "note": "Rossi"}'
    )
    made = masked({"mask": "json", "paths": paths}, value, text(base="jsonb", family=Family.JSON))
    address = masked("mask:email", "a@b.it")
    assert made == (
        f'{{"prefs": {{"theme": "dark"}}, "contacts": [{{"mail": "{address}"}}, {{"mail": null}}],'
        ' "tags": {"x": ["#", "#"], "y": "#"}, "gone": null}'
    )


@pytest.mark.parametrize("value", ['"Mario"', "42", '["Mario", 42]'])
def test_json_without_the_members_that_were_expected_tells_nothing(value: str) -> None:
    made = masked({"mask": "json", "paths": {"a": "keep"}}, value, text(base="jsonb", family=Family.JSON))
    assert made in {"null", "[null, null]"}


def test_text_that_should_be_json_and_is_not() -> None:
    made = masked({"mask": "json", "paths": {"a": "keep"}}, "{a: Mario}")
    assert len(made) == 10
    assert "Mario" not in made


def test_rows_are_masked_field_by_field() -> None:
    people = table(text("id", "int8", Family.NUMBER), text("email", unique=True), text("note"), text("phone"))
    by = masker(
        t={"id": "keep", "email": "mask:email", "note": {"mask": "constant", "value": "a\tb\\"}, "phone": "null"}
    )
    selection = by.select(people)
    assert selection is not None
    assert selection.query == 'select "id", "email", "note", null from only "public"."t"'
    assert selection.into == '"public"."t" ("id", "email", "note", "phone")'
    assert selection.format == "text"
    rows: list[bytes | memoryview] = [b"1\ta\\\\b@x.it\tx\\ny\t\\N\n", memoryview(b"2\t\\N\t\t\\N\n")]
    address = masked("mask:email", "a\\b@x.it").encode()
    assert list(by.mask_rows(people, rows)) == [b"1\t" + address + b"\ta\\tb\\\\\t\\N\n", b"2\t\\N\t\t\\N\n"]


def test_rows_without_masks_pass_as_they_are() -> None:
    chunks = table(text("id", "int8", Family.NUMBER), text("embedding", "vector", Family.VECTOR))
    by = masker(t={"id": "keep", "embedding": "keep"})
    selection = by.select(chunks)
    assert selection is not None
    assert selection.format == "binary"
    row = memoryview(b"\x00\x02rest")
    assert next(iter(by.mask_rows(chunks, [row]))) is row


def test_a_row_of_another_width_stops_everything() -> None:
    by = masker(t={"a": "mask:text", "b": "keep"})
    with pytest.raises(ActionError, match="has 3 fields and not 2"):
        list(by.mask_rows(table(text("a"), text("b")), [b"x\ty\tz\n"]))


def test_a_value_that_cannot_be_masked_is_not_repeated() -> None:
    with pytest.raises(ActionError, match=r"^t\.a cannot be masked: ValueError$") as raised:
        list(masker(t={"a": "mask:text"}).mask_rows(table(text("a", array=True)), [b'{"Mario\n']))
    assert raised.value.__cause__ is None
    assert "Mario" not in str(raised.value)


def test_nothing_is_selected_that_was_not_decided_on() -> None:
    with pytest.raises(ActionError, match="nobody decided on the table t"):
        masker().select(table(text("a")))
    with pytest.raises(ActionError, match=r"t\.b: nobody decided on it"):
        masker(t={"a": "keep"}).select(table(text("a"), text("b")))
    with pytest.raises(ActionError, match=r"t\.a: mask:email does not fit"):
        masker(t={"a": "mask:email"}).select(table(text("a", "jsonb", Family.JSON)))


def test_an_emptied_table_gives_no_rows() -> None:
    by = masker(t="empty")
    assert by.select(table(text("a"))) is None
    with pytest.raises(ActionError, match="none of its rows"):
        by.mask_rows(table(text("a")), [b"x\n"])


def test_regenerated_columns_come_empty_with_their_expression() -> None:
    by = masker(t={"a": "mask:text", "s": {"regenerate": "to_tsvector(a)"}, "e": "regenerate"})
    selection = by.select(table(text("a"), text("s", "tsvector", Family.SEARCH), text("e", "vector", Family.VECTOR)))
    assert selection is not None
    assert selection.query == 'select "a", null, null from only "public"."t"'
    assert selection.regenerated == (('"s"', "to_tsvector(a)"),)


@pytest.mark.parametrize("secret", [None, "", "short", " " * 40])
def test_a_key_that_keeps_no_secret(secret: str | None) -> None:
    with pytest.raises(ActionError):
        read_key(secret)


def test_a_key() -> None:
    assert read_key("a" * 32 + "\n") == b"a" * 32
