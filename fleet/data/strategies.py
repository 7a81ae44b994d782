"""Which masks there are, and which columns each fits. What they do is in fleet/data/masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fleet.data.types import Family

_TEXT = frozenset({Family.TEXT})


@dataclass(frozen=True, slots=True)
class Strategy:
    """`unique`: different values stay different. `length`: characters it needs, beside those of what it replaces.

    `bases` are the only types of its families that it fits; None: all of them.
    """

    summary: str
    families: frozenset[Family]
    unique: bool = False
    length: int = 0
    bases: frozenset[str] | None = None

    def fits(self, family: Family | None, base: str) -> bool:
        return family in self.families and (self.bases is None or family is Family.TEXT or base in self.bases)


STRATEGIES: Mapping[str, Strategy] = {
    "email": Strategy("an address at the target's own domain", _TEXT, unique=True, length=18),
    "phone": Strategy("a number of the same form that nobody can have: 99 after the country", _TEXT, True, 12),
    "name": Strategy("as many words, of a language that does not exist", _TEXT, length=6),
    "iban": Strategy("the same country and form, right check digits, bank 0000 or XXXX", _TEXT, True, 27),
    "codice_fiscale": Strategy("right check letter, born in a place that does not exist (X...)", _TEXT, True, 16),
    "partita_iva": Strategy("right check digit, of an office that does not exist (200 to 799)", _TEXT, True, 11),
    "card": Strategy("as many digits, right check digit, of an issuer that does not exist (99)", _TEXT, True, 16),
    "ip": Strategy(
        "an address of a network for documentation and tests",
        frozenset({Family.TEXT, Family.NETWORK}),
        length=39,
        bases=frozenset({"inet", "cidr"}),
    ),
    "text": Strategy("filler of the same length", _TEXT),
    "hash": Strategy(
        "32 hexadecimal digits", frozenset({Family.TEXT, Family.BYTES, Family.UUID}), unique=True, length=32
    ),
    "constant": Strategy(
        "the `value`",
        frozenset({Family.TEXT, Family.NUMBER, Family.BOOLEAN, Family.TIME, Family.ENUM, Family.JSON, Family.NETWORK}),
    ),
    "date_shift": Strategy(
        "another day, at most `days` away",
        frozenset({Family.TIME}),
        bases=frozenset({"date", "timestamp", "timestamptz"}),
    ),
    "json": Strategy("what the `paths` decide on; all else is left out", frozenset({Family.JSON, Family.TEXT})),
    "bytes": Strategy("as many meaningless bytes", frozenset({Family.BYTES})),
    "vector": Strategy(
        "a random direction of the same dimensions",
        frozenset({Family.VECTOR}),
        bases=frozenset({"vector", "halfvec"}),
    ),
}
