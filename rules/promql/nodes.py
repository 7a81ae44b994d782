"""What an expression compiles to: one closure for each of PromQL's types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from rules.labels import EMPTY
from rules.promql.evaluation import Moment
from rules.promql.selectors import Selector
from rules.promql.vector import Vector, single
from rules.promql.windows import Ranged


@dataclass(frozen=True, slots=True)
class VectorNode:
    kind: ClassVar[Literal["vector"]] = "vector"
    run: Callable[[Moment], Vector]
    selector: Selector | None = None


@dataclass(frozen=True, slots=True)
class ScalarNode:
    kind: ClassVar[Literal["scalar"]] = "scalar"
    run: Callable[[Moment], float]

    def as_vector(self) -> VectorNode:
        """One element without labels."""
        return VectorNode(lambda moment: single(EMPTY, self.run(moment)))


@dataclass(frozen=True, slots=True)
class RangeNode:
    kind: ClassVar[Literal["matrix"]] = "matrix"
    run: Ranged
    selector: Selector | None = None


@dataclass(frozen=True, slots=True)
class StringNode:
    kind: ClassVar[Literal["string"]] = "string"
    text: str


Node = VectorNode | ScalarNode | RangeNode | StringNode
