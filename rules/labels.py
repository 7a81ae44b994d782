"""Label sets: immutable and interned, so that equal sets are one object and compare by identity."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from sys import intern
from typing import final
from weakref import WeakValueDictionary

from rules.strconv import quote

NAME = "__name__"
METADATA = (NAME, "__type__", "__unit__")  # what is said of the metric, not of the thing measured

Pairs = tuple[tuple[str, str], ...]


@final
class Labels(Mapping[str, str]):
    """A metric's labels with its name as `__name__`, sorted. An empty value is a missing label, as in Prometheus."""

    __slots__ = ("__weakref__", "name", "pairs")

    name: str  # the metric's name, "" where there is none
    pairs: Pairs

    def __new__(cls, labels: Mapping[str, str] | None = None) -> Labels:
        return cls.of(tuple(sorted((name, value) for name, value in labels.items() if value)) if labels else ())

    @classmethod
    def of(cls, pairs: Pairs) -> Labels:
        """The label set of pairs that are already sorted and hold no empty value."""
        return _interned.get(pairs) or cls._add(pairs)

    @classmethod
    def _add(cls, pairs: Pairs) -> Labels:
        with _adding:
            known = _interned.get(pairs)
            if known is not None:
                return known
            labels = super().__new__(cls)
            labels.pairs = tuple((intern(name), value) for name, value in pairs)
            labels.name = next((value for name, value in pairs if name == NAME), "")
            _interned[labels.pairs] = labels
            return labels

    def __getitem__(self, name: str) -> str:
        for known, value in self.pairs:
            if known == name:
                return value
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __reduce__(self) -> tuple[object, ...]:
        return Labels.of, (self.pairs,)  # a copy would be another object with equal labels

    def __bool__(self) -> bool:
        return True

    def value(self, name: str) -> str:
        """The label's value, "" where there is none."""
        for known, value in self.pairs:
            if known == name:
                return value
        return ""

    def only(self, names: Collection[str]) -> Labels:
        return Labels.of(tuple(pair for pair in self.pairs if pair[0] in names))

    def without(self, names: Collection[str]) -> Labels:
        return Labels.of(tuple(pair for pair in self.pairs if pair[0] not in names))

    def updated(self, labels: Mapping[str, str]) -> Labels:
        """This set with some labels set; an empty value removes the label."""
        return Labels({**dict(self.pairs), **labels})

    def __repr__(self) -> str:
        inner = ", ".join(f'{name}="{value}"' for name, value in self.pairs if name != NAME)
        return f"{self.name}{{{inner}}}"


def in_braces(labels: Mapping[str, str]) -> str:
    """As Prometheus writes label sets: sorted by name, `__name__` among them."""
    return "{" + ", ".join(f"{name}={quote(value)}" for name, value in sorted(labels.items())) + "}"


_interned: WeakValueDictionary[Pairs, Labels] = WeakValueDictionary()
_adding = threading.Lock()
EMPTY = Labels()
