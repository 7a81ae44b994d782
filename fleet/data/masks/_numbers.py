"""Numbers with check digits: right by checksum, and none that anybody could have been given."""

from __future__ import annotations

import re

from fleet.data.checksums import iban_digits, italian_letter, luhn
from fleet.data.masks._secret import Distinct, Secret

_CONSONANTS = "BCDFGLMNPRSTVZ"
_MONTHS = "ABCDEHLMPRST"
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_FISCAL = re.compile(r"[A-Z]{6}[0-9LMNPQRSTUV]{2}[A-Z][0-9LMNPQRSTUV]{2}[A-Z][0-9LMNPQRSTUV]{3}[A-Z]")
_VAT = re.compile(r"(?:IT)?([0-9]{11})")
_CARD = re.compile(r"[0-9]{13,19}")
_BETWEEN = re.compile(r"[\s./-]+")


def fill(template: str, characters: str) -> str:
    """`characters` in the places of the template's own, its separators kept; what is too many goes to the end."""
    rest = iter(characters)
    placed = [next(rest, "") if character.isalnum() else character for character in template]
    return "".join(placed) + "".join(rest)


class Numbers:
    """The masks `iban`, `codice_fiscale`, `partita_iva` and `card`."""

    def __init__(self, secrets: dict[str, Secret]) -> None:
        self._secrets = secrets
        self._ibans = Distinct(self._make_iban)
        self._people = Distinct(self._make_person)
        self._companies = Distinct(self._make_company)
        self._cards = Distinct(self._make_card)

    def iban(self, value: str) -> str:
        bare = _BETWEEN.sub("", value).upper()
        return fill(value, self._ibans(bare)) if _IBAN.fullmatch(bare) else self._ibans(f"?{value}")

    def codice_fiscale(self, value: str) -> str:
        bare = _BETWEEN.sub("", value).upper()
        if _VAT.fullmatch(bare):
            return self.partita_iva(value)  # what a company has instead
        made = self._people(bare if _FISCAL.fullmatch(bare) else f"?{value}")
        return made.lower() if value.islower() else made

    def partita_iva(self, value: str) -> str:
        bare = _BETWEEN.sub("", value).upper()
        match = _VAT.fullmatch(bare)
        if match is None:
            return self._companies(f"?{value}")
        country = bare[: -len(match[1])]
        return fill(value, country + self._companies(match[1]))

    def card(self, value: str) -> str:
        bare = _BETWEEN.sub("", value)
        return fill(value, self._cards(bare)) if _CARD.fullmatch(bare) else self._cards(f"?{value}")

    def _make_iban(self, bare: str, attempt: int) -> str:
        country = bare[:2] if _IBAN.fullmatch(bare) else "IT"
        if country in {"IT", "SM"}:
            account = f"{self._secrets['iban'].number(bare, attempt) % 10**17:022}"
            account = italian_letter(account) + account
        else:
            drawn = self._secrets["iban"].digest(bare, attempt)
            account = "".join(
                (("0" if place < 4 else str(byte % 10)) if was.isdigit() else "X" if place < 4 else chr(65 + byte % 26))
                for place, (was, byte) in enumerate(zip(bare[4:], drawn, strict=False))
            )
        return country + iban_digits(country, account) + account

    def _make_person(self, bare: str, attempt: int) -> str:
        drawn = self._secrets["codice_fiscale"].digest(bare, attempt)
        letters = "".join(_CONSONANTS[byte % len(_CONSONANTS)] for byte in drawn[:6])
        day = drawn[6] % 28 + 1 + 40 * (drawn[7] % 2)
        rest = int.from_bytes(drawn[8:16], "big")
        made = f"{letters}{rest % 100:02}{_MONTHS[drawn[16] % 12]}{day:02}X{rest // 100 % 1000:03}"
        return made + italian_letter(made)

    def _make_company(self, bare: str, attempt: int) -> str:
        drawn = self._secrets["partita_iva"].number(bare, attempt)
        made = f"{drawn % 9_999_999 + 1:07}{200 + drawn // 10**8 % 600}"
        return made + luhn(made)

    def _make_card(self, bare: str, attempt: int) -> str:
        length = len(bare) if _CARD.fullmatch(bare) else 16
        made = f"99{self._secrets['card'].number(bare, attempt) % 10 ** (length - 3):0{length - 3}}"
        return made + luhn(made)
