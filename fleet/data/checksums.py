"""Check digits of numbers that people are known by.

IBAN: ISO 13616 and, in Italy and San Marino, the CIN of the BBAN. Codice fiscale: DM 23 December 1976. Partita IVA and
cards: the formula of Luhn (ISO/IEC 7812-1).
"""

from __future__ import annotations

from string import ascii_uppercase, digits

# what characters count in odd places, counted from 1, of a codice fiscale and of an Italian BBAN
_ODD_VALUES = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
_EVEN = {character: place for characters in (digits, ascii_uppercase) for place, character in enumerate(characters)}
_ODD = {character: _ODD_VALUES[place] for character, place in _EVEN.items()}
_IN_IBAN = str.maketrans({letter: str(value) for value, letter in enumerate(ascii_uppercase, start=10)})
_DOUBLED = str.maketrans(digits, "0246813579")


def luhn(number: str) -> str:
    """The digit that makes `number` right when it is put behind it."""
    alternate, others = number[::-1][::2].translate(_DOUBLED), number[::-1][1::2]
    return str(-sum(map(int, alternate + others)) % 10)


def italian_letter(characters: str) -> str:
    """The check letter of the 15 characters of a codice fiscale, or of the 22 of an Italian BBAN after its CIN.

    Raises:
        KeyError: one is no capital letter of A to Z, and no digit.
    """
    total = sum(_ODD[character] for character in characters[::2]) + sum(_EVEN[each] for each in characters[1::2])
    return ascii_uppercase[total % 26]


def iban_digits(country: str, account: str) -> str:
    """The two check digits of an IBAN."""
    return f"{98 - int(f'{account}{country}00'.translate(_IN_IBAN)) % 97:02}"
