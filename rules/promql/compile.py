"""From the syntax tree to closures, once per expression. What is not supported is refused here, never at evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from promql_parser import (
    AggModifierType,
    AggregateExpr,
    BinaryExpr,
    Call,
    Expr,
    LabelModifierType,
    MatrixSelector,
    NumberLiteral,
    ParenExpr,
    StringLiteral,
    UnaryExpr,
    VectorSelector,
)

from rules.errors import QueryError
from rules.labels import EMPTY
from rules.promql import aggregate, binary, functions, ranges
from rules.promql.matchers import Matchers
from rules.promql.selectors import Selector
from rules.promql.vector import Moment, Vector


@dataclass(frozen=True, slots=True)
class VectorNode:
    run: Callable[[Moment], Vector]
    selector: Selector | None = None


@dataclass(frozen=True, slots=True)
class ScalarNode:
    run: Callable[[Moment], float]


Node = VectorNode | ScalarNode


@dataclass(slots=True)
class Compiler:
    """Compiles one expression and notes what it reads."""

    names: set[str | None] = field(default_factory=set)  # None: a selector without a fixed metric name
    windows: dict[str, float] = field(default_factory=dict)  # seconds of history, per metric name
    ranged: bool = False

    def node(self, expression: Expr) -> Node:
        """Raises QueryError for what is not supported."""
        kind = type(expression).__name__
        if kind in _REFUSED:
            raise QueryError(_REFUSED[kind])
        return _NODES[kind](self, expression)

    def vector(self, expression: Expr) -> VectorNode:
        node = self.node(expression)
        if isinstance(node, ScalarNode):
            raise QueryError("expected an instant vector, got a scalar")
        return node

    def scalar(self, expression: Expr) -> ScalarNode:
        node = self.node(expression)
        if isinstance(node, VectorNode):
            raise QueryError("expected a scalar, got an instant vector")
        return node

    def string(self, expression: Expr) -> str:
        while isinstance(expression, ParenExpr):
            expression = expression.expr
        if not isinstance(expression, StringLiteral):
            raise QueryError("expected a string")
        return expression.val

    @staticmethod
    def number(literal: NumberLiteral) -> ScalarNode:
        value = float(literal.val)
        return ScalarNode(lambda _: value)

    def negated(self, expression: UnaryExpr) -> Node:
        node = self.node(expression.expr)
        if isinstance(node, ScalarNode):
            return ScalarNode(lambda moment: -node.run(moment))
        return VectorNode(functions.elementwise(np.negative, node.run))

    def selected(self, expression: VectorSelector) -> VectorNode:
        selector = self._selector(expression)
        return VectorNode(selector, selector)

    def _selector(self, selector: VectorSelector) -> Selector:
        if selector.at is not None:
            raise QueryError("the @ modifier is not supported")
        if selector.offset:
            raise QueryError("the offset modifier is not supported")
        matchers = Matchers.of(selector)
        self.names.add(matchers.name)
        return Selector(matchers)

    def aggregate(self, expression: AggregateExpr) -> VectorNode:
        operator = str(expression.op)
        modifier = expression.modifier
        by = modifier is None or modifier.type == AggModifierType.By
        grouping = aggregate.Grouping(by, tuple(modifier.labels) if modifier else ())
        if operator in aggregate.SIMPLE:
            return VectorNode(aggregate.simple(operator, self.vector(expression.expr).run, grouping))
        if operator in aggregate.RANKED and expression.param is not None:
            parameter = self.scalar(expression.param).run
            return VectorNode(aggregate.ranked(operator, self.vector(expression.expr).run, parameter, grouping))
        raise QueryError(f"the aggregation {operator} is not supported")

    def binary(self, expression: BinaryExpr) -> Node:
        operator = str(expression.op)
        modifier = expression.modifier
        as_bool = modifier is not None and modifier.return_bool
        left, right = self.node(expression.lhs), self.node(expression.rhs)
        if isinstance(left, ScalarNode):
            if isinstance(right, ScalarNode):
                return ScalarNode(binary.scalars(operator, left.run, right.run))
            return VectorNode(binary.with_scalar(operator, right.run, left.run, swapped=True, as_bool=as_bool))
        if isinstance(right, ScalarNode):
            return VectorNode(binary.with_scalar(operator, left.run, right.run, swapped=False, as_bool=as_bool))
        matching = _matching(expression)
        if operator in binary.SETS:
            return VectorNode(binary.sets(operator, left.run, right.run, matching))
        if operator in binary.ARITHMETIC or operator in binary.COMPARISONS:
            return VectorNode(binary.vectors(operator, left.run, right.run, matching, as_bool=as_bool))
        raise QueryError(f"the operator {operator} is not supported")

    def call(self, call: Call) -> Node:
        name, args = call.func.name, list(call.args)
        if name in ranges.RANGES:
            return self._over_range(name, args[0])
        if name in functions.ELEMENTWISE:
            return VectorNode(functions.elementwise(functions.ELEMENTWISE[name], self.vector(args[0]).run))
        if name == "clamp":
            low, high = self.scalar(args[1]).run, self.scalar(args[2]).run
            return VectorNode(functions.clamp(self.vector(args[0]).run, low, high))
        if name in functions.WITH_SCALARS:
            scalars = tuple(self.scalar(one).run for one in args[1:])
            return VectorNode(functions.elementwise(functions.WITH_SCALARS[name], self.vector(args[0]).run, scalars))
        if name in _SPECIAL:
            return _SPECIAL[name](self, args)
        raise QueryError(f"the function {name}() is not supported")

    def _over_range(self, name: str, argument: Expr) -> VectorNode:
        while isinstance(argument, ParenExpr):
            argument = argument.expr
        if not isinstance(argument, MatrixSelector):
            raise QueryError(f"{name}() of a subquery is not supported")
        selector = self._selector(argument.vector_selector)
        seconds = argument.range.total_seconds()
        if selector.matchers.name is None:
            raise QueryError(f"{name}() needs a selector with a metric name")
        self.ranged = True
        self.windows[selector.matchers.name] = max(seconds, self.windows.get(selector.matchers.name, 0.0))
        return VectorNode(ranges.over_range(name, selector, seconds))

    def absent(self, args: list[Expr]) -> VectorNode:
        node = self.vector(args[0])
        return VectorNode(functions.absent(node.run, node.selector.matchers.equalities() if node.selector else EMPTY))

    def timestamp(self, args: list[Expr]) -> VectorNode:
        node = self.vector(args[0])
        if node.selector is None:
            return VectorNode(functions.evaluation_times(node.run))
        return VectorNode(functions.elementwise(np.positive, node.selector.timestamps))

    def label_replace(self, args: list[Expr]) -> VectorNode:
        target, replacement, source, pattern = map(self.string, args[1:])
        return VectorNode(functions.label_replace(self.vector(args[0]).run, target, replacement, source, pattern))


_NODES: dict[str, Callable[[Compiler, Any], Node]] = {
    "NumberLiteral": lambda compiler, node: compiler.number(node),
    "ParenExpr": lambda compiler, node: compiler.node(node.expr),
    "UnaryExpr": Compiler.negated,
    "VectorSelector": Compiler.selected,
    "AggregateExpr": Compiler.aggregate,
    "BinaryExpr": Compiler.binary,
    "Call": Compiler.call,
}
_REFUSED = {
    "SubqueryExpr": "subqueries are not supported",
    "MatrixSelector": "a range vector is only supported as the argument of a function",
    "StringLiteral": "a string is only supported as the argument of a function",
}
_SPECIAL: dict[str, Callable[[Compiler, list[Expr]], Node]] = {
    "time": lambda _, __: ScalarNode(lambda moment: moment.time),
    "vector": lambda compiler, args: VectorNode(functions.to_vector(compiler.scalar(args[0]).run)),
    "scalar": lambda compiler, args: ScalarNode(functions.to_scalar(compiler.vector(args[0]).run)),
    "absent": Compiler.absent,
    "timestamp": Compiler.timestamp,
    "label_replace": Compiler.label_replace,
}


_MANY_SIDE = {"VectorMatchCardinality.ManyToOne": "left", "VectorMatchCardinality.OneToMany": "right"}


def _matching(expression: BinaryExpr) -> binary.Matching:
    modifier = expression.modifier
    if modifier is None:
        return binary.Matching(on=False, labels=())
    fill = modifier.fill_values
    if fill is not None and (fill.lhs is not None or fill.rhs is not None):
        raise QueryError("fill modifiers are not supported")
    on = modifier.matching is not None and modifier.matching.type == LabelModifierType.Include
    labels = tuple(modifier.matching.labels) if modifier.matching else ()
    many = _MANY_SIDE.get(str(modifier.card), "")
    return binary.Matching(on, labels, many, tuple(modifier.group_labels or ()) if many else ())
