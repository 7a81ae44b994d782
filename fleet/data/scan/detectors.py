"""Personal data in text, by what it looks like and by whether it can be somebody's.

A number counts where its check digits are right and it can have been given out: a codice fiscale of a place that
exists, a card of an issuer, a phone number of a numbering plan, an address at a domain that people can have (RFC 2606).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache

import phonenumbers
import re2
from stdnum import iban, luhn
from stdnum.it import codicefiscale, iva

from fleet.data.kinds import Kind

Match = tuple[int, str]  # where it begins, and the value in its normal form
_Pattern = re.Pattern[str]  # what re2 gives works the same

# never anybody's: RFC 2606, RFC 6761
RESERVED = ("example", "invalid", "test", "localhost", "example.com", "example.net", "example.org")
_FILES = frozenset({"png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js"})  # logo@2x.png
_LOCAL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}$")
_DOMAIN = re.compile(r"(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?!\w)")

_FISCAL: _Pattern = re2.compile(
    r"(?i)\b[A-Z]{3} ?[A-Z]{3} ?[0-9L-V]{2} ?[A-EHLMPRST] ?[0-9L-V]{2} ?[A-MZ][0-9L-V]{3} ?[A-Z]\b"
)
_VAT: _Pattern = re2.compile(r"(?i)\b(?:IT[ -]?)?[0-9]{11}\b")
_CARD: _Pattern = re2.compile(
    r"\b(?:[0-9]{13,19}|[0-9]{4}[ -][0-9]{4}[ -][0-9]{4}[ -][0-9]{1,7}|[0-9]{4}[ -][0-9]{6}[ -][0-9]{4,5})\b"
)
_IBAN_HEAD: _Pattern = re2.compile(r"(?i)\b[A-Z]{2}[0-9]{2}")
_IBAN_BODY = re.compile(r"(?:[ .-]?[A-Za-z0-9]){11,45}")
_PHONE: _Pattern = re2.compile(
    r"\+[(]?[1-9](?:[ ()./\x{a0}-]{0,2}[0-9]){6,14}\b"
    r"|\b00[1-9](?:[ ()./\x{a0}-]{0,2}[0-9]){7,14}\b"
    r"|\b99[0-9]{0,2}(?:[ ./\x{a0}-]{1,2}[0-9]+)+\b"  # no number begins so; what follows is no other number
    r"|\b3[1-9][0-9](?:[ ./\x{a0}-]?[0-9]){6,7}\b"
    r"|\b0[1-9][0-9]{0,3}[ ./\x{a0}-]{1,3}[0-9](?:[ ./\x{a0}-]?[0-9]){4,7}\b"
    r"|\b0[1-9][0-9]{7,8}\b"
)
_DATE = re.compile(r"[0-9]{1,2}[ ./-][0-9]{1,2}[ ./-](?:19|20)?[0-9]{2}(?![0-9])")
# how cards of an issuer begin, and how long they are (ISO/IEC 7812)
_CARDS = re.compile(
    r"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})"
    r"|(?:5[1-5]|222[1-9]|22[3-9][0-9]|2[3-6]|27[01]|2720)[0-9]*(?<=[0-9]{16})(?<![0-9]{17})"
    r"|3[47][0-9]{13}|3(?:0[0-5]|[689][0-9])[0-9]{11}"
    r"|(?:35(?:2[89]|[3-8][0-9])|6011|62[0-9]{2}|64[4-9][0-9]|65[0-9]{2})[0-9]{12,15}"
    r"|(?:5018|5020|5038|5893|6304|6759|676[1-3])[0-9]{12,15}"
)
_SEPARATORS = re.compile(r"[\s./()-]+")
# people's numbers in Italy begin with 0 or 3; to ask the library is slow
_ABROAD_IN_ITALY = re.compile(r"(?:\+|00)[ ()./\xa0-]*39[ ()./\xa0-]*[1-24-9]")
_INSIDE_A_NUMBER = re.compile(r"[0-9][.,:/-]$")


def bare(value: str) -> str:
    """Without separators, in capitals."""
    return _SEPARATORS.sub("", value).upper()


def is_at(address: str, domains: Iterable[str]) -> bool:
    """Whether an e-mail address is at one of the domains, or below it."""
    return f".{address.rpartition('@')[2]}".endswith(tuple(f".{domain.lower()}" for domain in domains))


def addresses(text: str) -> Iterator[Match]:
    """E-mail addresses of any domain, in small letters."""
    at = text.find("@")
    while at >= 0:
        local = _LOCAL.search(text[max(0, at - 64) : at])
        domain = _DOMAIN.match(text, at + 1)
        if local is not None and domain is not None and domain[0].rpartition(".")[2].lower() not in _FILES:
            name = local[0].lstrip("'.{`|/=&?+-")
            if name:
                yield at - len(name), f"{name}@{domain[0]}".lower()
        at = text.find("@", at + 1)


def phones(text: str) -> Iterator[Match]:
    """Numbers of a numbering plan, in international form; those without a country are Italian."""
    for match in _PHONE.finditer(text):
        begin, value = match.start(), match[0]
        if value[0] != "+" and _is_part(text, begin, match.end()):
            continue
        if value[0] == "0" and _DATE.match(value):
            continue
        while value:
            if (number := phone_number(value)) is not None:
                yield begin, number
                break
            # what follows a number may look like more of it
            shorter = re.match(r"(.*[0-9])[ ()./\xa0-]+[0-9]+$", value, re.DOTALL)
            value = shorter[1] if shorter is not None else ""


@lru_cache(maxsize=10_000)
def phone_number(value: str) -> str | None:
    """`value` in international form; None: nobody can have this number."""
    if _ABROAD_IN_ITALY.match(value):
        return None
    try:
        number = phonenumbers.parse(value, "IT")
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def ibans(text: str) -> Iterator[Match]:
    """Of a country's form, with right check digits, and of a bank."""
    for match in _IBAN_HEAD.finditer(text):
        body = _IBAN_BODY.match(text, match.end())
        characters = bare(match[0] + body[0])[:34] if body is not None else ""
        for length in _divisible(characters):
            if iban.is_valid(characters[:length]):
                bank = characters[5:10] if characters[:2] in {"IT", "SM"} else characters[4:8]
                if bank.strip("0X"):
                    yield match.start(), characters[:length]
                break


def _divisible(characters: str) -> Iterator[int]:
    """The lengths at which the check digits of an IBAN would be right (ISO 7064, mod 97-10)."""
    head = "".join(str(int(character, 36)) for character in characters[:4])
    shift, rest = 10 ** len(head), 0
    for length, character in enumerate(characters[4:], start=5):
        digit = int(character, 36)
        rest = (rest * (10 if digit < 10 else 100) + digit) % 97
        if length >= 15 and (rest * shift + int(head)) % 97 == 1:
            yield length


def fiscal_codes(text: str) -> Iterator[Match]:
    """Of people, those changed for being alike too; the pattern asks for a place from A to M, or abroad: Z."""
    return ((match.start(), code) for match in _FISCAL.finditer(text) if codicefiscale.is_valid(code := bare(match[0])))


def vat_numbers(text: str) -> Iterator[Match]:
    """Of an office that exists."""
    for match in _VAT.finditer(text):
        number = bare(match[0]).removeprefix("IT")
        if iva.is_valid(number) and not _is_part(text, match.start(), match.end()):
            yield match.start(), number


def cards(text: str) -> Iterator[Match]:
    """Of an issuer, by length and check digit."""
    for match in _CARD.finditer(text):
        number = bare(match[0])
        if _CARDS.fullmatch(number) and luhn.is_valid(number) and not _is_part(text, match.start(), match.end()):
            yield match.start(), number


def _is_part(text: str, begin: int, end: int) -> bool:
    """Whether digits go on around it, as those of a fraction or a time do."""
    before, after = text[max(0, begin - 2) : begin], text[end : end + 2]
    return _INSIDE_A_NUMBER.search(before) is not None or re.match(r"[:.,/-][0-9]", after) is not None


# of everything but names, for which one must know whose they are
DETECTORS: Mapping[Kind, Callable[[str], Iterator[Match]]] = {
    Kind.EMAIL: addresses,
    Kind.PHONE: phones,
    Kind.IBAN: ibans,
    Kind.FISCAL_CODE: fiscal_codes,
    Kind.VAT_NUMBER: vat_numbers,
    Kind.CARD: cards,
}
