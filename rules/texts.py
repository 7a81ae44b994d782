"""The texts of an alert, as they are at one moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rules.labels import Labels
from rules.templates import Context, Template


class Texts(Mapping[str, str]):
    """Each is made when it is first read: of thousands of alerts nearly all are looked at for their summary or less."""

    __slots__ = ("_context", "_made", "_sample", "_templates", "_value")

    def __init__(self, templates: Mapping[str, Template], sample: Labels, value: float, context: Context) -> None:
        self._templates, self._sample, self._value, self._context = templates, sample, value, context
        self._made: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = self._templates[name].expand(self._sample, self._value, self._context)
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(self._templates)

    def __len__(self) -> int:
        return len(self._templates)

    def __repr__(self) -> str:
        return repr(dict(self))
