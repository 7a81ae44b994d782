"""What the scan takes for personal data in text, and what it leaves alone: nobody's, and what masks make."""

import base64
import gzip
import random
from collections.abc import Callable, Mapping
from string import ascii_uppercase

import pytest

from fleet.data.decisions import Decisions, read_decision
from fleet.data.kinds import Kind
from fleet.data.masks import Masker
from fleet.data.scan import NOBODY, Finding, Options, People, scan_options
from fleet.data.scan.across import look_across
from fleet.data.scan.columns import Column, Content
from fleet.data.scan.detectors import DETECTORS
from fleet.data.scan.looking import Look, in_order
from fleet.data.scan.people import _PIECE, APART, pieces, words_of
from fleet.data.scan.phones import by_library, is_nobodys, phone_number
from fleet.data.tables import Column as Masked
from fleet.data.types import Family
from fleet.policy import TIER_DEFAULTS, DataPolicy, Tier

IBAN, FISCAL, VAT, CARD = "IT60X0542811101000000123456", "RSSMRA80A01H501U", "00743110157", "4111111111111111"
NOTES = Column("public", "notes", "t", "t", Content.TEXT)


def people() -> People:
    found = People()
    found.add_name(["mario", "rossi"])
    found.add_name(["nicolo", "maria", "angelis"])
    found.add_value(Kind.EMAIL, "mario@studio.example")
    found.add_value(Kind.PHONE, "+393471234567")
    return found


def seen(*values: str, content: Content = Content.TEXT, options: Options | None = None) -> dict[Kind, int]:
    look = Look(Column("public", "notes", "t", "t", content), options or Options(), {})
    look.take(values)
    return look.counts()


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("email", "scrivi a Mario.Rossi@Studio-Rossi.it, grazie", "mario.rossi@studio-rossi.it"),
        ("email", "a" * 70 + "@posta.it", "a" * 64 + "@posta.it"),
        ("email", "\x1f(%Mario+x@posta.it", "%mario+x@posta.it"),
        ("email", "é perché.è@posta.it", "perché.è@posta.it"),
        ("phone", "è il 347-1234567", "+393471234567"),
        ("email", '{"da":"a+b@posta.ditta.it"}', "a+b@posta.ditta.it"),
        ("email", "mailto:a@perché.it", "a@perché.it"),
        ("phone", "tel. +39 347 1234567 2024", "+393471234567"),
        ("phone", "cell 347/1234567", "+393471234567"),
        ("phone", "3471234567", "+393471234567"),
        ("phone", "0039 347 123 4567", "+393471234567"),
        ("phone", "tel:06 12345678", "+390612345678"),
        ("phone", "02-12345678", "+390212345678"),
        ("phone", "0612345678", "+390612345678"),
        ("phone", "+44 20 7946 0958", "+442079460958"),
        ("phone", "+1 (212) 555-0123", "+12125550123"),
        ("iban", "IBAN IT60 X054 2811 1010 0000 0123 456 PRESSO LA BANCA", IBAN),
        ("iban", IBAN.lower(), IBAN),
        ("iban", "DE89370400440532013000 o GB82 WEST 1234 5698 7654 32", "DE89370400440532013000"),
        ("iban", "a GB82 WEST 1234 5698 7654 32", "GB82WEST12345698765432"),
        ("codice_fiscale", f"CF:{FISCAL}.", FISCAL),
        ("codice_fiscale", "rss mra 80a01 h501u", FISCAL),
        ("codice_fiscale", "RSSMRA80A01H5LMN", None),
        ("partita_iva", f"P.IVA {VAT}", VAT),
        ("partita_iva", f"IT{VAT}", VAT),
        ("card", "4111 1111 1111 1111", CARD),
        ("card", "5555-5555-5555-4444", "5555555555554444"),
        ("card", "378282246310005", "378282246310005"),
    ],
)
def test_what_can_be_somebodys(kind: str, text: str, value: str | None) -> None:
    found = [found for _, found in DETECTORS[Kind(kind)](text)]
    assert found[:1] == ([] if value is None else [value])
    for place, _ in DETECTORS[Kind(kind)](f"prima {text}"):
        assert place >= 6


@pytest.mark.parametrize(
    "text",
    [
        "a@b",
        "logo@2x.png",
        "u1@qa.invalid x@a.example <b@x.example.com>",
        "01.01.2026, 02/03/2026 10:15, 2026-01-02 03:04:05.678901+00",
        "1767323045 1767323045123 20260102030405",
        "0.4539148803436467, [0.00743110157, -4.111111111111111e-05]",
        "IT61X0542811101000000123456",
        "IT60X0000011101000000123456",
        "RSSMRA80A01H501V",
        "RSSMRA80A01X501D",
        "00743110158",
        "4111111111111112",
        "9999999999999995",
        "+39 999 1234567 +3 999 123",
        "550e8400-e29b-41d4-a716-446655440000",
        "5f4dcc3b5aa765d61d8327deb882cf99",
        "decreto legislativo 9 aprile 2008, n. 81, articolo 37, comma 12",
        "$2b$12$abcdefghijklmnopqrstuv",
        "/var/lib/postgresql/15/main/base",
    ],
)
def test_what_is_nobodys(text: str) -> None:
    assert seen(text) == {}


@pytest.mark.parametrize(
    "text",
    [
        "mario%2Erossi%40studio.it",
        "mario&#64;studio.it",
        "mario&commat;studio.it",
        r'{"k": "mario\u0040studio.it"}',
        "mario＠studio.it",
        "ma\u200brio@studio.it",
        "mario [at] studio.it",
        "mario (chiocciola) studio.it",
        base64.b64encode(b"nota: mario@studio.it").decode(),
        base64.b64encode(gzip.compress(b"mario@studio.it", mtime=0)).decode(),
        r"\x" + b"mario@studio.it".hex(),
        r"\x" + "mario@studio.it".encode("utf-16-le").hex(),
        r"\x" + gzip.compress(b"mario@studio.it", mtime=0).hex(),
        r'{"\\x' + b"mario@studio.it".hex() + '"}',
        r"\x89504e47" + b"\0\1\2Author: mario@studio.it\0\xff".hex(),
        base64.b64encode((r"\x" + b"mario@studio.it".hex()).encode()).decode(),
    ],
)
def test_what_is_written_in_another_way(text: str) -> None:
    assert seen("niente", text, "niente") == {Kind.EMAIL: 1}


@pytest.mark.parametrize(
    ("text", "is_name"),
    [
        ("Mario Rossi", True),
        ("ROSSI Mario", True),
        ("mario.rossi", True),
        ("mario_rossi", True),
        ("il signor Rossi, Mario", True),
        ('{"first_name": "Mario", "last_name": "Rossi"}', True),
        ("Nicolò de Angelis", True),
        ("nicolo\u0300 Angelis", True),
        ("NICOLÒ MARIA", True),
        ("Mario", False),
        ("Mario Verdi", False),
        ("Mario Mario", False),
        ("Maria Rossi", False),
        ("Mario e poi molte altre parole, Rossi", False),
    ],
)
def test_names_are_two_words_of_one_person(text: str, is_name: bool) -> None:
    assert seen("niente", text, options=Options(people=people())) == ({Kind.NAME: 1} if is_name else {})
    assert seen(text) == {}


def test_a_name_is_not_read_across_two_values() -> None:
    assert seen("Mario", "Rossi", options=Options(people=people())) == {}


def test_names_of_masks_are_nobodys_in_two_columns() -> None:
    rng = random.Random("two columns")  # noqa: S311 - test values
    masker = Masker(Decisions({}), b"k" * 32, "qa")
    name = masker.mask(Masked("c", "c", "text", "text", Family.TEXT), read_decision("mask:name"))
    firsts, lasts = ["Mario", "Anna", "ROSSI"], ["Rossi", "Verdi", "Mario"]
    rows = [(rng.choice(firsts), rng.choice(lasts)) for _ in range(2000)]
    known = people()

    def counted(first: Callable[[str], str | None], last: Callable[[str], str | None]) -> list[dict[Kind, int]]:
        words: dict[str, bool] = {}
        looks = [Look(NOTES, Options(people=known), words) for _ in range(2)]
        for look, mask, values in zip(looks, (first, last), zip(*rows, strict=True), strict=True):
            look.take([mask(value) or "" for value in values])
        look_across(looks, known)
        return [look.counts() for look in looks]

    assert counted(name, name) == counted(str, name) == counted(name, str) == [{}, {}]
    assert counted(str, str) == [
        {Kind.NAME: sum({each.lower() for each in row} == {"mario", "rossi"} for row in rows)},
        {},
    ]


@pytest.mark.parametrize("begin", range(_PIECE - 12, _PIECE + 2))
def test_a_name_is_read_wherever_a_large_text_is_cut(begin: int) -> None:
    options = Options(people=people())
    assert seen("niente", "-" * begin + "Mario e Rossi", "niente", options=options) == {Kind.NAME: 1}
    assert seen("niente", "-" * begin + "Mario", "Rossi", options=options) == {}


def test_words_are_the_same_however_a_text_is_cut() -> None:
    rng = random.Random("words")  # noqa: S311 - test values
    for _ in range(300):
        text = "".join(rng.choice("aBò\u0301°ß|_7 -中Жℋ😀\ud800" + APART) for _ in range(30))
        parts = list(pieces(text, rng.randrange(1, 9)))
        assert "".join(parts) == text
        assert [word for part in parts for word in words_of(part)] == words_of(text)


def test_words_are_of_letters_without_accents_and_forms() -> None:
    text = f"Nicolò O\u0301 STRASSE straße ﬁne Ｍａｒｉｏ ℋ Жук 中 n°3 €5 «è» a|b_c{APART}d\ud800e"
    expected = "nicolo o strasse strasse fine mario h жук 中 n e a b c | d e"
    assert " ".join(words_of(text)) == expected
    many = [chr(code) for code in range(0x100, 0x250)]  # so many are replaced in another way
    assert words_of(f"{' '.join(many)} {text}") == [word for each in (*many, text) for word in words_of(each)]


def test_values_are_counted_not_matches() -> None:
    assert seen("a@b.it c@d.it", "", "niente", "e@f.it") == {Kind.EMAIL: 2}


def test_a_known_address_counts_wherever_it_is() -> None:
    assert seen("mario@studio.example", "anna@studio.example", options=Options(people=people())) == {Kind.EMAIL: 1}


def test_addresses_of_masks_and_test_accounts_are_nobodys() -> None:
    options = Options(domains=frozenset({"ours.it"}), test_domains=frozenset({"studio.example"}), people=people())
    assert seen("a@ours.it", "a@mail.ours.it", "mario@studio.example", options=options) == {}
    assert seen("a@yours.it", "a@notours.it", options=options) == {Kind.EMAIL: 2}


def test_what_is_published_may_stand_there_but_not_what_is_a_users() -> None:
    options = Options(published={NOTES.key: frozenset({Kind.PHONE, Kind.EMAIL})}, people=people())
    assert seen("+39 06 12345678", "inps@inps.it", options=options) == {}
    assert seen("+39 06 12345678", "347 1234567", options=options) == {Kind.PHONE: 1}
    assert seen(f"CF {FISCAL}", options=options) == {Kind.FISCAL_CODE: 1}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("3471234567", "3387654321.0", "5"), {Kind.PHONE: 2}),
        (("393471234567",), {Kind.PHONE: 1}),
        ((CARD,), {Kind.CARD: 1}),
        ((VAT,), {Kind.VAT_NUMBER: 1}),
        (("1", "", "-3", "NaN", "12.5"), {}),
        ((CARD, *map(str, range(10**15, 10**15 + 1000))), {}),
    ],
)
def test_numbers_count_where_many_of_a_column_pass(values: tuple[str, ...], expected: dict[Kind, int]) -> None:
    assert seen(*values, content=Content.NUMBER) == expected


def test_values_are_told_apart_where_something_is_packed_in_them() -> None:
    hidden = [r"\x" + f"nota: mario{number}@studio.it".encode().hex() for number in range(3)]
    assert seen("niente", *hidden, "", *hidden, "niente") == {Kind.EMAIL: 6}
    large = base64.b64encode(gzip.compress(b"x" * 300_000 + b" mario@studio.it ", mtime=0)).decode()
    assert seen(large, "niente", large, hidden[0]) == {Kind.EMAIL: 3}
    both = base64.b64encode(f"{hidden[0]} {FISCAL}".encode()).decode()
    assert seen(both, hidden[1], both) == {Kind.EMAIL: 3, Kind.FISCAL_CODE: 2}


SEPARATED = ("", " ", "-", ".", "/", "\xa0", "  ", "/ ")


@pytest.mark.parametrize("country", ["", "+39", "0039", "+39 ", "0039-", "+ 39 ", "00 39 "])
def test_italian_numbers_are_judged_as_the_library_does(country: str) -> None:
    rng = random.Random(country)  # noqa: S311 - test values
    begins = [f"{first}{rest:02}" for first in "03" for rest in range(100)]
    judged = [
        (value, phone_number(value), by_library(value))
        for begin in (*begins, *begins, "0669", "06698", "0831", "99", "999", "9912")
        for length in range(5, 13)
        for digits in [begin + f"{rng.randrange(10**length):0{length}}"[: length - len(begin)]]
        for value in [
            country + "".join(digit + rng.choice(("", "", "", *SEPARATED)) for digit in digits[:-1]) + digits[-1]
        ]
    ]
    assert [value for value, ours, theirs in judged if ours != theirs] == []
    assert sum(ours is not None for _, ours, _ in judged) > 1000


@pytest.mark.parametrize("begin", ["99", "+39", "0039", "+ 39 ", "00 (39) ", "+(39)-"])
def test_what_begins_as_nobodys_number_has_no_other_in_it(begin: str) -> None:
    rng = random.Random(begin)  # noqa: S311 - test values
    for first in "1246789" if begin != "99" else "0123456789":
        for _ in range(30):
            value = begin + first + "".join(rng.choice("0123456789 -") for _ in range(12))
            assert is_nobodys(value)
            judge = by_library if begin == "99" else phone_number
            assert [judge(value[:end]) for end in range(1, len(value) + 1)] == [None] * len(value)


def test_a_users_number_counts_among_any_others() -> None:
    values = ("3471234567", *map(str, range(1000)))
    assert seen(*values, content=Content.NUMBER, options=Options(people=people())) == {Kind.PHONE: 1}


def test_addresses_on_the_internet() -> None:
    assert seen("8.8.8.8", "198.18.0.1", "10.0.0.1/8", "2001:db8::1", "", content=Content.NETWORK) == {Kind.IP: 1}


def test_words_of_a_search_vector_are_put_in_order() -> None:
    vector = "'+39':4 '1234567':6 '347':5 'mario':1,9A 'o''neil':3B 'rossi':2"
    assert in_order(vector) == "mario rossi o''neil +39 347 1234567 mario"
    assert in_order("'mario' 'rossi'") == "mario rossi"
    assert in_order("") == ""
    found = seen(vector, content=Content.SEARCH, options=Options(people=people()))
    assert found == {Kind.NAME: 1, Kind.PHONE: 1}


def test_nobody_is_known_of_whom_nothing_was_read() -> None:
    assert not NOBODY
    assert people()
    assert not people().has_word("verdi")
    assert "rossi" not in repr(people())


MASKS: Mapping[str, Callable[[random.Random], str]] = {
    "email": lambda rng: f"user{rng.randrange(10**6)}@ditta{rng.randrange(99)}.it",
    "phone": lambda rng: rng.choice(["+39 3{} {}", "3{}{}", "06 {}{}", "+44 {} {}", "0039 3{} {}", "0{}{}"]).format(
        rng.randrange(20, 99), rng.randrange(10**6, 10**7)
    ),
    "name": lambda rng: f"{rng.choice(['Mario', 'Anna', 'ROSSI'])} {rng.choice(['Rossi', 'Verdi', 'Mario'])}",
    "iban": lambda rng: rng.choice([IBAN, "DE89370400440532013000", "FR1420041010050500013M02606", "x"]) + "",
    "codice_fiscale": lambda rng: FISCAL[:6] + f"{rng.randrange(100):02}A01H501" + rng.choice(ascii_uppercase),
    "partita_iva": lambda rng: f"{rng.randrange(10**11):011}",
    "card": lambda rng: f"4{rng.randrange(10**15):015}",
    "ip": lambda rng: f"8.8.{rng.randrange(256)}.{rng.randrange(256)}",
    "text": lambda rng: f"scrivi a mario@ditta{rng.randrange(99)}.it " * rng.randrange(1, 9),
    "hash": lambda rng: f"segreto {rng.random()}",
}


@pytest.mark.parametrize("mask", MASKS)
def test_what_masks_make_is_nobodys(mask: str) -> None:
    """Two ways of thinking agree: masks make what cannot be, the scan knows what can."""
    rng = random.Random(mask)  # noqa: S311 - test values
    masker = Masker(Decisions({}), b"k" * 32, "qa")
    masked = masker.mask(Masked("c", "c", "text", "text", Family.TEXT), read_decision(f"mask:{mask}"))
    values = [masked(MASKS[mask](rng)) for _ in range(2000)]
    options = scan_options(TIER_DEFAULTS[Tier.QA].data, Tier.QA, people=people())
    assert seen(*values, options=options) == {}
    assert seen(*values, content=Content.NUMBER, options=options) == {}


def test_the_policy_says_what_may_be_there() -> None:
    options = scan_options(TIER_DEFAULTS[Tier.QA].data, Tier.QA)
    assert options.domains == {"qa.invalid"}
    assert Kind.EMAIL in options.published["public", "knowledge_chunks", "chunk_text"]
    assert Kind.FISCAL_CODE not in options.published["public", "knowledge_chunks", "chunk_text"]


@pytest.mark.parametrize("name", ["users", "a.b.c.d", "users.", ".email", ""])
def test_what_is_published_is_named_by_column(name: str) -> None:
    with pytest.raises(ValueError, match=r"write table\.column"):
        DataPolicy(published={name: (Kind.EMAIL,)})


def test_columns_of_other_schemas_are_published_by_their_schema() -> None:
    data = DataPolicy(published={"notes.t": (Kind.EMAIL,), "web.notes.t": (Kind.PHONE,)})
    assert scan_options(data, Tier.QA).published == {
        ("public", "notes", "t"): {Kind.EMAIL},
        ("web", "notes", "t"): {Kind.PHONE},
    }


def test_a_finding_shows_its_place_and_never_a_value() -> None:
    assert Finding("public", "users", "email", Kind.EMAIL, 3).shown == "public.users.email: 3 email"
    assert Finding("public", "users", "email", Kind.EMAIL, 3, "statistics").shown.endswith("3 email in the statistics")
    assert Finding("", "x", "", Kind.UNREAD, 1, reason="closed").shown == "x: closed"
