"""Who production's users are, as hashes: to recognise them in a copy without their names ever getting there.

The key is drawn anew for each reading and never leaves the process, nor do the hashes.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import combinations, islice

from fleet.connections import Connection, Record
from fleet.data.kinds import Kind
from fleet.data.scan.detectors import DETECTORS

# columns that say who somebody is, in English and Italian; of tables that have one, all text is about people
_NAME = (
    r"(^|_)((first|last|full|middle|given|family|display|sur|customer|contact|user)_?name|surname"
    r"|nome|cognome|nominativo|intestatario)($|_)"
)
_CONTACT = r"(^|_)(e?_?mail|pec|phone|telefono|cellulare|mobile|codice_?fiscale|iban)($|_)"
_COLUMNS = """
    select n.nspname::text as schema, c.relname::text as table, format('%I.%I', n.nspname, c.relname) as quoted,
        array_agg(format('%I::text', a.attname) order by a.attnum) filter (where a.attname ~* $1) as names,
        array_agg(format('%I::text', a.attname) order by a.attnum) filter (where a.attname !~* $1) as others
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    join pg_catalog.pg_type t on t.oid = a.atttypid
    where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'
        and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
        and (t.typcategory = 'S' or t.typtype = 'd' or t.typname in ('json', 'jsonb', 'int8', 'numeric'))
    group by n.nspname, c.relname
    having bool_or(a.attname ~* $1 or a.attname ~* $2)
    order by 1, 2
"""
# what full-text search makes of a word, whose columns hold it in this form
_STEMS = """
    select w, coalesce((ts_lexize('pg_catalog.italian_stem', w))[1], w),
        coalesce((ts_lexize('pg_catalog.english_stem', w))[1], w)
    from unnest($1::text[]) as w
"""
_LETTER = re.compile(r"[^\W\d_]")
_NO_LETTER = re.compile(r"[\x00-@\[-`{-\x7f]")
# of ASCII; what is no letter becomes a space, but for APART. All that is left of other characters are letters
_LETTERS_AND_BREAKS = bytes(
    code if code > 0x7F else ord("|") if code == 0x1E else ord(chr(code).lower()) if chr(code).isalpha() else 0x20
    for code in range(256)
)
_ASCII = bytes(range(128))
_ACCENTS = frozenset("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0323\u0327\u0328")
_FEW = 64  # characters: each is replaced on its own
# words of many names that are nobody's
_PARTICLES = frozenset({"da", "dal", "dalla", "de", "dei", "del", "della", "di", "la", "le", "lo", "van", "von", "dr"})
_MOST_WORDS = 6  # of a name
_ROWS = 1_000
_PIECE = 1 << 16  # characters
APART = "\x1e"  # between values that are looked through together
BREAK = "|"  # instead of it, among words
_TIMEOUT = 600.0  # seconds, for one table


def words_of(text: str) -> list[str]:
    """In small letters, without accents; BREAK stands where values are apart."""
    letters = (text if text.isascii() else _folded(text)).encode().translate(_LETTERS_AND_BREAKS)
    return letters.replace(b"|", b" | ").decode().split()


def pieces(text: str, least: int = _PIECE) -> Iterator[str]:
    """A text in parts that hold the same words: to take a large one apart at once would hold up all other threads."""
    begin = 0
    while begin < len(text):
        after = _NO_LETTER.search(text, begin + least)
        end = len(text) if after is None else after.start()
        yield text[begin:end]
        begin = end


def _folded(text: str) -> str:
    """With letters for those of other alphabets, accents and forms, spaces for all that is no letter beyond ASCII."""
    different = set(text.encode("utf-8", "surrogatepass").translate(None, _ASCII).decode("utf-8", "surrogatepass"))
    if len(different) > _FEW:
        return text.translate({ord(character): _letters(character) for character in different})
    for character in different:
        text = text.replace(character, _letters(character))
    return text


@lru_cache(maxsize=4096)
def _letters(character: str) -> str:
    """What is left once folded does not change when it is folded again."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    return "".join(each if _LETTER.match(each) else " " for each in plain if each not in _ACCENTS)


class People:
    """Knows names by any two of their words, and e-mail addresses and numbers whole."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._hashes: set[bytes] = set()

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def add_name(self, words: Sequence[str]) -> None:
        """A name of one word alone is nobody's in particular."""
        whole = {word for word in words if len(word) > 1 and word not in _PARTICLES}
        for first, second in combinations(sorted(whole)[:_MOST_WORDS], 2):
            self._hashes |= {self._hash("pair", first, second), self._hash("word", first), self._hash("word", second)}

    def add_value(self, kind: Kind, value: str) -> None:
        """An address or number, in the normal form of the detectors."""
        self._hashes.add(self._hash(kind, value))

    def has_word(self, word: str) -> bool:
        return self._hash("word", word) in self._hashes

    def are_name(self, first: str, second: str) -> bool:
        """Whether two words, in either order, stand in the name of one person."""
        return first != second and self._hash("pair", *sorted((first, second))) in self._hashes

    def has_value(self, kind: Kind, value: str) -> bool:
        return self._hash(kind, value) in self._hashes

    def _hash(self, *parts: str) -> bytes:
        return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), key=self._key, digest_size=12).digest()


NOBODY = People()


async def read_people(connection: Connection, people: People | None = None) -> People:
    """The users of production: all rows of tables whose columns are called like names or contacts of people.

    `people` are those of other databases, to which these are added.

    Raises:
        asyncpg.PostgresError: not all of them can be read.
    """
    people = People() if people is None else people
    names: set[tuple[str, ...]] = set()
    for record in await connection.fetch(_COLUMNS, _NAME, _CONTACT, timeout=_TIMEOUT):
        of_name, others = record["names"] or [], record["others"] or []
        query = f"select {', '.join((*of_name, *others))} from {record['quoted']}"  # noqa: S608 - quoted by the server
        async with connection.transaction(readonly=True):
            await connection.execute(f"set local statement_timeout = '{_TIMEOUT:.0f}s'; set local row_security = off")
            cursor = await connection.cursor(query, timeout=_TIMEOUT)
            while rows := await cursor.fetch(_ROWS, timeout=_TIMEOUT):
                await asyncio.to_thread(_take, people, names, rows, len(of_name))
    stems = await _stems(connection, await asyncio.to_thread(_words, names))
    await asyncio.to_thread(_add_names, people, names, stems)
    return people


def _take(people: People, names: set[tuple[str, ...]], rows: Sequence[Record], of_name: int) -> None:
    for row in rows:
        names.add(tuple(words_of(" ".join(filter(None, row[:of_name])))[: 2 * _MOST_WORDS]))
    text = APART.join(value for row in rows for value in row if value)
    for kind, look in DETECTORS.items():
        for _, found in look(text):
            people.add_value(kind, found)


def _words(names: Iterable[tuple[str, ...]]) -> set[str]:
    return {word for name in names for word in name}


def _add_names(people: People, names: Iterable[tuple[str, ...]], stems: Mapping[str, tuple[str, str]]) -> None:
    for name in names:
        people.add_name(name)
        for in_language in zip(*(stems[word] for word in name), strict=True):
            people.add_name(in_language)


async def _stems(connection: Connection, words: set[str]) -> dict[str, tuple[str, str]]:
    """Of each word the Italian and the English stem; the word itself where there is none."""
    found: dict[str, tuple[str, str]] = {}
    rest = iter(words)
    while some := list(islice(rest, _ROWS)):
        for word, italian, english in await connection.fetch(_STEMS, some, timeout=_TIMEOUT):
            found[word] = (italian, english)
    return found
