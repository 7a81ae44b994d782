"""From the syntax tree to closures, once per expression. What is not supported is refused here, never at evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
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
    SubqueryExpr,
    UnaryExpr,
    VectorSelector,
)

from rules.errors import QueryError
from rules.promql import aggregate, binary, maths
from rules.promql.calls import CALLS
from rules.promql.evaluation import Dialect
from rules.promql.matchers import Matchers
from rules.promql.nodes import Node, RangeNode, ScalarNode, StringNode, VectorNode
from rules.promql.parse import Parsed
from rules.promql.selectors import Selector
from rules.promql.windows import Reach, Subquery
from rules.store import LOOKBACK

_LONGEST = 2**63 / 1e9  # seconds; Prometheus counts nanoseconds in 64 bits
_DEEPEST = 400  # nodes in nodes; Python's own limit is 1,000 frames, and each takes two


@dataclass(slots=True)
class Compiler:
    """Compiles one expression and notes what it reads."""

    parsed: Parsed
    dialect: Dialect
    names: set[str | None] = field(default_factory=set)  # None: a selector without a fixed metric name
    windows: dict[str, float] = field(default_factory=dict)  # seconds of history by metric name; "": of every metric
    ranged: bool = False
    _past: float = 0.0  # seconds that the subqueries around reach back
    _depth: int = 0

    def root(self) -> Node:
        """The whole expression. Raises QueryError for what is not supported."""
        tree = self.parsed.tree
        while isinstance(tree, ParenExpr):
            tree = tree.expr
        return self.aggregate(tree, ordered=True) if isinstance(tree, AggregateExpr) else self.node(tree)

    def node(self, expression: Expr) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise QueryError("the expression is nested too deeply")
        try:
            return _NODES[type(expression).__name__](self, expression)
        finally:
            self._depth -= 1

    def vector(self, expression: Expr) -> VectorNode:
        node = self.node(expression)
        if not isinstance(node, VectorNode):
            raise QueryError(f"expected an instant vector, got a {node.kind}")
        return node

    def scalar(self, expression: Expr) -> ScalarNode:
        node = self.node(expression)
        if not isinstance(node, ScalarNode):
            raise QueryError(f"expected a scalar, got a {node.kind}")
        return node

    def ranges(self, expression: Expr) -> RangeNode:
        node = self.node(expression)
        if not isinstance(node, RangeNode):
            raise QueryError(f"expected a range vector, got a {node.kind}")
        return node

    def string(self, expression: Expr) -> str:
        node = self.node(expression)
        if not isinstance(node, StringNode):
            raise QueryError(f"expected a string, got a {node.kind}")
        return node.text

    @staticmethod
    def number(literal: NumberLiteral) -> ScalarNode:
        value = float(literal.val)
        return ScalarNode(lambda _: value)

    def negated(self, expression: UnaryExpr) -> Node:
        node = self.node(expression.expr)
        if isinstance(node, ScalarNode):
            return ScalarNode(lambda moment: -node.run(moment))
        if isinstance(node, VectorNode):
            return VectorNode(maths.elementwise(np.negative, node.run))
        raise QueryError(f"expected a scalar or an instant vector, got a {node.kind}")

    def selected(self, expression: VectorSelector) -> VectorNode:
        selector = self._selector(expression, LOOKBACK)
        return VectorNode(selector, selector)

    def range(self, expression: MatrixSelector) -> RangeNode:
        self.ranged = True
        seconds = _seconds(expression.range)
        selector = self._selector(expression.vector_selector, seconds)
        return RangeNode(lambda moment: selector.windows(moment, seconds), selector)

    def _selector(self, selector: VectorSelector, seconds: float) -> Selector:
        matchers, reach = Matchers.of(selector, self.parsed, self.dialect.compat), self._reach(selector)
        self.names.add(matchers.name)
        past = self._past + seconds + max(0.0, reach.offset)
        if past > LOOKBACK:
            name = matchers.name or ""
            self.windows[name] = max(past, self.windows.get(name, 0.0))
        return Selector(matchers, reach)

    def _reach(self, expression: VectorSelector | SubqueryExpr) -> Reach:
        offset = _seconds(expression.offset) if expression.offset else 0.0
        return Reach(offset, None if expression.at is None else self.parsed.moment(expression.at))

    def subquery(self, expression: SubqueryExpr) -> RangeNode:
        self.ranged = True
        seconds, reach = _seconds(expression.range or timedelta()), self._reach(expression)
        chosen = expression.step
        step = self.dialect.subquery_step if chosen is None else chosen.total_seconds()
        before = self._past
        self._past += seconds + max(0.0, reach.offset)
        inner = self.node(expression.expr)
        self._past = before
        if isinstance(inner, ScalarNode):
            inner = inner.as_vector()
        if not isinstance(inner, VectorNode):
            raise QueryError(f"a subquery is of an instant vector, not of a {inner.kind}")
        return RangeNode(Subquery(inner.run, seconds, step, reach))

    def aggregate(self, expression: AggregateExpr, *, ordered: bool = False) -> VectorNode:
        operator, modifier, param = str(expression.op), expression.modifier, expression.param
        by = modifier is None or modifier.type == AggModifierType.By
        grouping = aggregate.Grouping(by, tuple(modifier.labels) if modifier else ())
        vector = self.vector(expression.expr).run
        if operator in aggregate.EXPERIMENTAL and not self.dialect.experimental:
            raise QueryError(f"{operator}() is experimental and must be enabled")
        if operator in aggregate.SIMPLE:
            return VectorNode(aggregate.simple(operator, vector, grouping))
        if param is None:
            raise QueryError(f"the aggregation {operator} is not supported")
        if operator == "count_values":
            return VectorNode(aggregate.count_values(self.string(param), vector, grouping))
        parameter = self.scalar(param).run
        if operator == "quantile":
            return VectorNode(aggregate.quantile(parameter, vector, grouping))
        return VectorNode(aggregate.ranked(operator, vector, parameter, grouping, ordered=ordered))

    def binary(self, expression: BinaryExpr) -> Node:
        operator, modifier = str(expression.op), expression.modifier
        as_bool = modifier is not None and modifier.return_bool
        left, right = self.node(expression.lhs), self.node(expression.rhs)
        if isinstance(left, ScalarNode) and isinstance(right, ScalarNode):
            return ScalarNode(binary.scalars(operator, left.run, right.run))
        if isinstance(left, ScalarNode) and isinstance(right, VectorNode):
            return VectorNode(binary.with_scalar(operator, right.run, left.run, swapped=True, as_bool=as_bool))
        if isinstance(left, VectorNode) and isinstance(right, ScalarNode):
            return VectorNode(binary.with_scalar(operator, left.run, right.run, swapped=False, as_bool=as_bool))
        if not isinstance(left, VectorNode) or not isinstance(right, VectorNode):
            raise QueryError(
                f"a binary operator is between scalars and instant vectors, not {left.kind} and {right.kind}"
            )
        matching = _matching(expression)
        if operator in binary.SETS:
            return VectorNode(binary.sets(operator, left.run, right.run, matching))
        return VectorNode(binary.vectors(operator, left.run, right.run, matching, as_bool=as_bool))

    def call(self, call: Call) -> Node:
        name = call.func.name
        known = CALLS.get(name)
        if known is None:
            raise QueryError(f"the function {name}() is not supported")
        if known.experimental and not (self.dialect.experimental or (known.stable_in_2 and self.dialect.compat == 2)):
            raise QueryError(f"function {name}() is experimental and must be enabled")
        return known.compile(self, list(call.args))


_NODES: dict[str, Callable[[Compiler, Any], Node]] = {
    "NumberLiteral": lambda compiler, node: compiler.number(node),
    "StringLiteral": lambda _, node: StringNode(node.val),
    "ParenExpr": lambda compiler, node: compiler.node(node.expr),
    "UnaryExpr": Compiler.negated,
    "VectorSelector": Compiler.selected,
    "MatrixSelector": Compiler.range,
    "SubqueryExpr": Compiler.subquery,
    "AggregateExpr": Compiler.aggregate,
    "BinaryExpr": Compiler.binary,
    "Call": Compiler.call,
}

_MANY_SIDE = {"VectorMatchCardinality.ManyToOne": "left", "VectorMatchCardinality.OneToMany": "right"}


def _seconds(duration: timedelta) -> float:
    seconds = duration.total_seconds()
    if abs(seconds) > _LONGEST:
        raise QueryError("duration out of range")
    return seconds


def _matching(expression: BinaryExpr) -> binary.Matching:
    modifier = expression.modifier
    if modifier is None:
        return binary.Matching(on=False, labels=())
    fill = modifier.fill_values
    if fill is not None and (fill.lhs is not None or fill.rhs is not None):
        raise QueryError("fill modifiers are experimental and not supported")
    on = modifier.matching is not None and modifier.matching.type == LabelModifierType.Include
    labels = tuple(modifier.matching.labels) if modifier.matching else ()
    many = _MANY_SIDE.get(str(modifier.card), "")
    return binary.Matching(on, labels, many, tuple(modifier.group_labels or ()) if many else ())
