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
_WHOLE = re.compile(r"[a-z]+:(?!//)")
CACHE_SECONDS = 300.0
RETRY_SECONDS = 30.0  # after a failure: a source that is away takes seconds to say so


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
        """The (scheme, reference) pairs in the text."""
        if self.is_reference:
            scheme, _, reference = self.raw.partition(":")
            return [(scheme, reference)]
        return _INSIDE.findall(self.raw)

    @property
    def is_reference(self) -> bool:
        """Whether the whole text is one reference: `scheme:` at its start, no `//` after it, none inside."""
        return _WHOLE.match(self.raw) is not None and not _INSIDE.search(self.raw)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        def from_raw(value: Any) -> Any:
            return value.raw if isinstance(value, cls) else value

        text = core_schema.no_info_after_validator_function(cls, core_schema.str_schema(min_length=1))
        return core_schema.no_info_before_validator_function(
            from_raw, text, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )


@dataclass(slots=True)
class _Cached:
    """`until` is when to ask the source again; `failing` whether it could not answer last time."""

    value: str
    until: float
    failing: bool = False


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
        """Resolve `text`. A value put inside a URL is percent-encoded.

        Raises:
            SecretError: an unknown scheme, or a secret that cannot be read and never was.
        """
        if text.is_reference:
            return await self._resolve(*text.references[0])
        values = {key: await self._resolve(*key) for key in text.references}
        if "://" in text.raw:
            values = {key: quote(value, safe="") for key, value in values.items()}
        return _INSIDE.sub(lambda match: values[match[1], match[2]], text.raw)

    def forget(self, text: SecretText) -> None:
        """Ask the source again next time: what it gave was refused (a rotated password)."""
        for key in text.references:
            if key in self._cache:
                self._cache[key].until = float("-inf")

    async def _resolve(self, scheme: str, reference: str) -> str:
        source = self._sources.get(scheme)
        if source is None:
            raise SecretError(f"no secret source is called {scheme!r}", hint=f"known are: {', '.join(self._sources)}")
        cached = self._cache.get((scheme, reference))
        if cached and self._monotonic() < cached.until:
            return cached.value
        try:
            value = await source.resolve(reference)
        except SecretError as error:
            if cached is None:
                raise
            if not cached.failing:
                log.warning("secret_source_failed_using_last_value", scheme=scheme, error=error.message)
            cached.until, cached.failing = self._monotonic() + RETRY_SECONDS, True
            return cached.value
        self._cache[scheme, reference] = _Cached(value, self._monotonic() + CACHE_SECONDS)
        return value
