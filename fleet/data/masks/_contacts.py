"""How people are called and reached: addresses nobody has, numbers nobody has, names in no language."""

from __future__ import annotations

import re
from base64 import b32encode
from ipaddress import IPv6Address

from fleet.data.masks._numbers import fill
from fleet.data.masks._secret import Distinct, Secret

_PHONE = re.compile(r"[+0-9 ()./\u00a0-]+")
_NOT_DIGITS = re.compile(r"[^0-9]+")
_FREE_DIGITS = 7
_NAME_WORDS = 4
# letters that Italian has only in loans: what they make is nobody's name
_SYLLABLES = tuple(first + vowel for first in "jkwxyz" for vowel in "aeiou")


class Contacts:
    """The masks `email`, `phone`, `name` and `ip`; `domain` is that of masked addresses."""

    def __init__(self, secrets: dict[str, Secret], domain: str) -> None:
        self._secrets = secrets
        self._at = f"@{domain}"
        self._phones = Distinct(self._make_phone)

    def email(self, value: str) -> str:
        return "u" + b32encode(self._secrets["email"].digest(value)[:10]).decode().lower() + self._at

    def phone(self, value: str) -> str:
        """In the form of the value: `+39 347 123 4567` becomes `+39 99x xxx xxxx`."""
        digits = _NOT_DIGITS.sub("", value)
        if len(digits) < 3 or not _PHONE.fullmatch(value):
            return "+" + self._phones(f"?{value}")
        begins = "".join(value.split()).lstrip("(")
        if begins.startswith("00"):
            return fill(value, "00" + self._phones("+" + digits[2:]))
        return fill(value, self._phones("+" + digits if begins.startswith("+") else digits))

    def _make_phone(self, number: str, attempt: int) -> str:
        abroad = not number[0].isdigit()
        begins = "3999" if abroad else "99"
        length = 12 if number[0] == "?" else len(number) - abroad
        free = max(length - len(begins), _FREE_DIGITS)
        return f"{begins}{self._secrets['phone'].number(number, attempt) % 10**free:0{free}}"

    def name(self, value: str, room: int | None = None) -> str:
        """As many words, in capitals or small letters as they were; at most `room` characters."""
        drawn = self._secrets["name"].digest(value)
        words = max(1, min(len(value.split()), _NAME_WORDS, (room or 99) // 7))
        parts = [_SYLLABLES[byte % len(_SYLLABLES)] for byte in drawn[: 3 * words]]
        made = " ".join("".join(parts[at : at + 3]).capitalize() for at in range(0, len(parts), 3))
        return made.upper() if value.isupper() else made.lower() if value.islower() else made

    def ip(self, value: str) -> str:
        """Of 198.18.0.0/15 (RFC 2544) or 2001:db8::/32 (RFC 3849)."""
        drawn = self._secrets["ip"].digest(value)
        if ":" in value:
            return str(IPv6Address(bytes.fromhex("20010db8") + drawn[:12]))
        return f"198.{18 + drawn[0] % 2}.{drawn[1]}.{drawn[2]}"
