"""What people wrote, and what is only a value: filler, hashes, other days, noise."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from uuid import UUID

import numpy as np

from fleet.data.masks._secret import Secret
from fleet.data.types import Family

_WORDS = (
    "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et dolore magna"
    " aliqua ut enim ad minim veniam quis nostrud exercitation ullamco laboris nisi ut aliquip ex ea commodo consequat"
)
_STARTS = (0, *(place + 1 for place, character in enumerate(_WORDS) if character == " "))
_EPOCH = "1970-01-01"


class Contents:
    """The masks `text`, `hash`, `date_shift`, `bytes` and `vector`, on values as PostgreSQL writes them."""

    def __init__(self, secrets: dict[str, Secret]) -> None:
        self._secrets = secrets

    def text(self, value: str) -> str:
        begin = _STARTS[self._secrets["text"].number(value) % len(_STARTS)]
        length = len(value)
        filler = (_WORDS[begin:] + " " + _WORDS + " ") + (_WORDS + " ") * (length // len(_WORDS))
        return filler[: length - 1] + ("." if filler[length - 1] == " " else filler[length - 1])

    def hash_of(self, family: Family | None) -> Callable[[str], str]:
        """The hash in the form of a type: 32 hexadecimal digits, 32 bytes, a UUID."""
        digest = self._secrets["hash"].digest
        match family:
            case Family.BYTES:
                return lambda value: "\\x" + digest(value).hex()
            case Family.UUID:
                return lambda value: str(UUID(bytes=digest(value)[:16], version=4))
        return lambda value: digest(value)[:16].hex()

    def date_shift(self, value: str, days: int) -> str:
        """The time of day stays; what is no day of this era (`infinity`, BC, after 9999) becomes 1970-01-01."""
        day, rest = value[:10], value[10:]
        drawn = self._secrets["date_shift"].number(day)
        away = timedelta(days=(drawn // 2 % days + 1) * (1 if drawn % 2 else -1))
        try:
            moved = date.fromisoformat(day)
            moved = moved - away if rest.endswith("BC") else moved + away
        except (ValueError, OverflowError):
            return _EPOCH
        return _EPOCH if rest.endswith("BC") else moved.isoformat() + rest

    def noise(self, value: str) -> str:
        return "\\x" + self._secrets["bytes"].stream(value, (len(value) - 2) // 2).hex()

    def vector(self, value: str) -> str:
        """Of length 1."""
        drawn = np.random.default_rng(self._secrets["vector"].number(value)).standard_normal(value.count(",") + 1)
        return "[" + ",".join(f"{each:.5g}" for each in drawn / np.linalg.norm(drawn)) + "]"
