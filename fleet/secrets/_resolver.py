"""Text that holds secret references, and the resolver that fills them in."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import structlog
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

import fleet.secrets as secret_schemes
from fleet.errors import SecretError
from fleet.plugins import load_plugins
from fleet.secrets._source import SecretSource

log = structlog.get_logger()

_INSIDE = re.compile(r"\$\{([a-z]+):([^}]+)\}")
CACHE_SECONDS = 300.0


class SecretText:
    """A text that is a reference (`env:NAME`), holds some (`postgresql://u:${env:PW}@h/d`), or is plain.

    It never shows itself: repr, str and pydantic dumps give `***`. `raw` is what the configuration said.
    """

    __slots__ = ("raw",)

    def __init__(self, raw: str) -> None:
        self.raw = raw

    def __repr__(self) -> str:
        return "SecretText('***')"

    def __str__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretText) and other.raw == self.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    @property
    def references(self) -> list[tuple[str, str]]:
        """The (scheme, reference) pairs in the text; a known scheme at its start makes the whole text one."""
        scheme, colon, reference = self.raw.partition(":")
        if colon and re.fullmatch("[a-z]+", scheme) and not reference.startswith("//"):
            return [(scheme, reference)]
        return _INSIDE.findall(self.raw)

    @property
    def is_reference(self) -> bool:
        return bool(self.references) and not _INSIDE.search(self.raw)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        from_str = core_schema.no_info_after_validator_function(cls, core_schema.str_schema(min_length=1))
        return core_schema.json_or_python_schema(
            json_schema=from_str,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), from_str]),
            serialization=core_schema.plain_serializer_function_ser_schema(str),
        )


@dataclass(slots=True)
class _Cached:
    value: str
    at: float


class Secrets:
    """Resolves references through the sources, keeps answers for five minutes, and the last good one in an outage."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._sources = {name: source() for name, source in load_plugins(secret_schemes, SecretSource).items()}
        self._cache: dict[tuple[str, str], _Cached] = {}

    @property
    def schemes(self) -> list[str]:
        return list(self._sources)

    async def fill(self, text: SecretText) -> str:
        """Resolve `text`. A value put inside a larger text (a DSN) is percent-encoded.

        Raises:
            SecretError: an unknown scheme, or a secret that cannot be read and never was.
        """
        if text.is_reference:
            return await self._resolve(*text.references[0])
        filled = text.raw
        for scheme, reference in text.references:
            value = await self._resolve(scheme, reference)
            filled = filled.replace(f"${{{scheme}:{reference}}}", quote(value, safe=""))
        return filled

    def forget(self, text: SecretText) -> None:
        """Ask the source again next time: what it gave was refused (a rotated password)."""
        for key in text.references:
            if key in self._cache:
                self._cache[key].at = float("-inf")

    async def _resolve(self, scheme: str, reference: str) -> str:
        source = self._sources.get(scheme)
        if source is None:
            raise SecretError(f"no secret source is called {scheme!r}", hint=f"known are: {', '.join(self._sources)}")
        cached = self._cache.get((scheme, reference))
        if cached and self._monotonic() - cached.at < CACHE_SECONDS:
            return cached.value
        try:
            value = await source.resolve(reference)
        except SecretError as error:
            if cached is None:
                raise
            log.warning("secret_source_failed_using_last_value", scheme=scheme, error=error.message)
            return cached.value
        self._cache[scheme, reference] = _Cached(value, self._monotonic())
        return value
