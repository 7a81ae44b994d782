"""Personal data in text, by what it looks like and by whether it can be somebody's.

A number counts where its check digits are right and it can have been given out: a codice fiscale of a place that
exists, a card of an issuer, a phone number of a numbering plan, an address at a domain that people can have (RFC 2606).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from stdnum import iban, luhn
from stdnum.it import codicefiscale, iva

from fleet.data.kinds import Kind
from fleet.data.scan.patterns import Pattern
from fleet.data.scan.phones import is_nobodys, phone_number

Match = tuple[int, str]  # where it begins, and the value in its normal form

# never anybody's: RFC 2606, RFC 6761
RESERVED = ("example", "invalid", "test", "localhost", "example.com", "example.net", "example.org")
_FILES = frozenset({"png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js"})  # logo@2x.png
_LOCAL_BACKWARDS = re.compile(r"\n?([\w.!#$%&'*+/=?^`{|}~-]{1,64})")  # backwards, from the at sign
_DOMAIN = re.compile(r"(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?!\w)")

_FISCAL = Pattern(r"(?i)\b[A-Z]{3} ?[A-Z]{3} ?[0-9L-V]{2} ?[A-EHLMPRST] ?[0-9L-V]{2} ?[A-MZ][0-9L-V]{3} ?[A-Z]\b")
_VAT = Pattern(r"(?i)\b(?:IT[ -]?)?[0-9]{11}\b")
_CARD = Pattern(
    r"\b(?:[0-9]{13,19}|[0-9]{4}[ -][0-9]{4}[ -][0-9]{4}[ -][0-9]{1,7}|[0-9]{4}[ -][0-9]{6}[ -][0-9]{4,5})\b"
)
_IBAN_HEAD = Pattern(r"(?i)\b[A-Z]{2}[0-9]{2}")
_IBAN_BODY = re.compile(r"(?:[ .-]?[A-Za-z0-9]){11,45}")
_PHONE = Pattern(
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
_SHORTER = re.compile(r"(.*[0-9])[ ()./\xa0-]+[0-9]+", re.DOTALL)
_NUMBER_BEFORE = re.compile(r"[0-9][.,:/-]")
_NUMBER_AFTER = re.compile(r"[:.,/-][0-9]")


def bare(value: str) -> str:
    """Without separators, in capitals."""
    return _SEPARATORS.sub("", value).upper()


def endings(domains: Iterable[str]) -> tuple[str, ...]:
    """Of the addresses at these domains, or below them, with a dot for the at sign."""
    return tuple(f".{domain.lower()}" for domain in domains)


def is_at(address: str, endings: tuple[str, ...]) -> bool:
    return f".{address.rpartition('@')[2]}".endswith(endings)


def addresses(text: str) -> Iterator[Match]:
    """E-mail addresses of any domain, in small letters."""
    at = text.find("@")
    while at >= 0:
        local = _LOCAL_BACKWARDS.match(text[max(0, at - 64) : at][::-1])
        domain = _DOMAIN.match(text, at + 1)
        if local is not None and domain is not None and domain[0].rpartition(".")[2].lower() not in _FILES:
            name = local[1][::-1].lstrip("'.{`|/=&?+-")
            if name:
                yield at - len(name), f"{name}@{domain[0]}".lower()
        at = text.find("@", at + 1)


def phones(text: str) -> Iterator[Match]:
    """Numbers of a numbering plan, in international form; those without a country are Italian."""
    for begin, value in _PHONE.find(text):
        if value[0] != "+" and _is_part(text, begin, begin + len(value)):
            continue
        if (value[0] == "0" and _DATE.match(value)) or is_nobodys(value):
            continue
        # what follows a number may look like more of it
        shorter: str | None = value
        while shorter is not None:
            if (number := phone_number(shorter)) is not None:
                yield begin, number
                break
            shorter = match[1] if (match := _SHORTER.fullmatch(shorter)) is not None else None


def ibans(text: str) -> Iterator[Match]:
    """Of a country's form, with right check digits, and of a bank."""
    for begin, head in _IBAN_HEAD.find(text):
        body = _IBAN_BODY.match(text, begin + len(head))
        characters = bare(head + body[0])[:34] if body is not None else ""
        for length in _divisible(characters):
            if iban.is_valid(characters[:length]):
                bank = characters[5:10] if characters[:2] in {"IT", "SM"} else characters[4:8]
                if bank.strip("0X"):
                    yield begin, characters[:length]
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
    return ((begin, code) for begin, value in _FISCAL.find(text) if codicefiscale.is_valid(code := bare(value)))


def vat_numbers(text: str) -> Iterator[Match]:
    """Of an office that exists."""
    for begin, value in _VAT.find(text):
        number = bare(value).removeprefix("IT")
        if iva.is_valid(number) and not _is_part(text, begin, begin + len(value)):
            yield begin, number


def cards(text: str) -> Iterator[Match]:
    """Of an issuer, by length and check digit."""
    for begin, value in _CARD.find(text):
        number = bare(value)
        if _CARDS.fullmatch(number) and luhn.is_valid(number) and not _is_part(text, begin, begin + len(value)):
            yield begin, number


def _is_part(text: str, begin: int, end: int) -> bool:
    """Whether digits go on around it, as those of a fraction or a time do."""
    before = begin > 1 and _NUMBER_BEFORE.match(text, begin - 2, begin) is not None
    return before or _NUMBER_AFTER.match(text, end) is not None


# of everything but names, for which one must know whose they are
DETECTORS: Mapping[Kind, Callable[[str], Iterator[Match]]] = {
    Kind.EMAIL: addresses,
    Kind.PHONE: phones,
    Kind.IBAN: ibans,
    Kind.FISCAL_CODE: fiscal_codes,
    Kind.VAT_NUMBER: vat_numbers,
    Kind.CARD: cards,
}
