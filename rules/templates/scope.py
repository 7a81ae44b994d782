"""Which variables are known at a place of a template, and in which slot of its frame each lives."""

from __future__ import annotations

from collections.abc import Collection

from rules.templates.nodes import UNBOUND


class Scope:
    """The variables of one template that are known at a place, and their slots."""

    def __init__(self) -> None:
        self.size = 1
        self._slots: dict[str, list[int]] = {"$": [0]}
        self._order: list[str] = []
        self._pending: list[str] = []

    def declare(self, name: str) -> int:
        self._bind(name, self.size)
        self.size += 1
        return self.size - 1

    def assign(self, name: str) -> int:
        """Where the variable is; Go notices only when it executes the assignment that there is none."""
        if not self._slots.get(name):
            self._bind(name, UNBOUND)
        return self._slots[name][-1]

    def _bind(self, name: str, slot: int) -> None:
        self._slots.setdefault(name, []).append(slot)
        self._order.append(name)

    def find(self, name: str) -> int | None:
        slots = self._slots.get(name)
        return slots[-1] if slots else UNBOUND if name in self._pending else None

    def expect(self, names: Collection[str]) -> None:
        """These are being declared: the pipeline that gives their value may name them, and means outer ones."""
        self._pending += names

    def settle(self, count: int) -> None:
        del self._pending[len(self._pending) - count :]

    def mark(self) -> int:
        return len(self._order)

    def back_to(self, mark: int) -> None:
        while len(self._order) > mark:
            self._slots[self._order.pop()].pop()
