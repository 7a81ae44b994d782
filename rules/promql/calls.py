"""The functions by name: how the arguments of each become a closure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from promql_parser import Expr

from rules.labels import EMPTY
from rules.promql import dates, histogram, labelling, maths
from rules.promql.evaluation import Dialect
from rules.promql.nodes import Node, RangeNode, ScalarNode, VectorNode
from rules.promql.ranges import RANGES, RangeFunction, over_range


class Arguments(Protocol):
    """Compiles arguments to what a function wants; each raises QueryError where the argument is something else."""

    dialect: Dialect

    def vector(self, expression: Expr) -> VectorNode: ...
    def scalar(self, expression: Expr) -> ScalarNode: ...
    def ranges(self, expression: Expr) -> RangeNode: ...
    def string(self, expression: Expr) -> str: ...


Compile = Callable[[Arguments, Sequence[Expr]], Node]


@dataclass(frozen=True, slots=True)
class Function:
    """`stable_in_2`: experimental in Prometheus 3 only."""

    compile: Compile
    experimental: bool = False
    stable_in_2: bool = False


def _elementwise(name: str) -> Compile:
    return lambda compiler, args: VectorNode(maths.elementwise(maths.ELEMENTWISE[name], compiler.vector(args[0]).run))


def _with_scalars(name: str) -> Compile:
    def compile_(compiler: Arguments, args: Sequence[Expr]) -> Node:
        scalars = tuple([compiler.scalar(one).run for one in args[1:]])
        return VectorNode(maths.elementwise(maths.WITH_SCALARS[name], compiler.vector(args[0]).run, scalars))

    return compile_


def _clamp(compiler: Arguments, args: Sequence[Expr]) -> Node:
    low, high = compiler.scalar(args[1]).run, compiler.scalar(args[2]).run
    return VectorNode(maths.clamp(compiler.vector(args[0]).run, low, high))


def _date(name: str) -> Compile:
    def compile_(compiler: Arguments, args: Sequence[Expr]) -> Node:
        vector = compiler.vector(args[0]) if args else ScalarNode(lambda moment: moment.time).as_vector()
        return VectorNode(maths.elementwise(dates.DATES[name], vector.run))

    return compile_


def _over_range(function: RangeFunction) -> Compile:
    def compile_(compiler: Arguments, args: Sequence[Expr]) -> Node:
        scalars = [*args[: function.before], *args[function.before + 1 :]]
        runs = tuple([compiler.scalar(one).run for one in scalars])
        return VectorNode(over_range(function, compiler.ranges(args[function.before]).run, runs))

    return compile_


def _absent(compiler: Arguments, args: Sequence[Expr]) -> Node:
    node = compiler.vector(args[0])
    return VectorNode(labelling.absent(node.run, node.selector.matchers.equalities() if node.selector else EMPTY))


def _absent_over_time(compiler: Arguments, args: Sequence[Expr]) -> Node:
    node = compiler.ranges(args[0])
    labels = node.selector.matchers.equalities() if node.selector else EMPTY
    return VectorNode(labelling.absent_over_time(node.run, labels))


def _timestamp(compiler: Arguments, args: Sequence[Expr]) -> Node:
    node = compiler.vector(args[0])
    if node.selector is None:
        return VectorNode(labelling.evaluation_times(node.run))
    return VectorNode(maths.elementwise(np.positive, node.selector.timestamps))


def _label_replace(compiler: Arguments, args: Sequence[Expr]) -> Node:
    target, replacement, source, pattern = [compiler.string(one) for one in args[1:5]]
    vector, compat = compiler.vector(args[0]).run, compiler.dialect.compat
    return VectorNode(labelling.label_replace(vector, target, replacement, source, pattern, compat=compat))


def _label_join(compiler: Arguments, args: Sequence[Expr]) -> Node:
    target, separator, *sources = [compiler.string(one) for one in args[1:]]
    return VectorNode(labelling.label_join(compiler.vector(args[0]).run, target, separator, tuple(sources)))


def _sort(*, descending: bool) -> Compile:
    return lambda compiler, args: VectorNode(labelling.sort(compiler.vector(args[0]).run, descending=descending))


def _sort_by_label(*, descending: bool) -> Compile:
    def compile_(compiler: Arguments, args: Sequence[Expr]) -> Node:
        names = tuple([compiler.string(one) for one in args[1:]])
        return VectorNode(labelling.sort_by_label(compiler.vector(args[0]).run, names, descending=descending))

    return compile_


def _histogram_quantile(compiler: Arguments, args: Sequence[Expr]) -> Node:
    return VectorNode(histogram.quantile(compiler.scalar(args[0]).run, compiler.vector(args[1]).run))


def _histogram_quantiles(compiler: Arguments, args: Sequence[Expr]) -> Node:
    phis = tuple([compiler.scalar(one).run for one in args[2:]])
    return VectorNode(histogram.quantiles(compiler.vector(args[0]).run, compiler.string(args[1]), phis))


def _histogram_fraction(compiler: Arguments, args: Sequence[Expr]) -> Node:
    lower, upper = compiler.scalar(args[0]).run, compiler.scalar(args[1]).run
    return VectorNode(histogram.fraction(lower, upper, compiler.vector(args[2]).run))


def _of_native(compiler: Arguments, args: Sequence[Expr]) -> Node:
    """A function of native histograms, which there are none of."""
    return VectorNode(histogram.of_native(compiler.vector(args[0]).run))


def _extremum(choose: Callable[[float, float], float]) -> Compile:
    def compile_(compiler: Arguments, args: Sequence[Expr]) -> Node:
        first, second = compiler.scalar(args[0]).run, compiler.scalar(args[1]).run
        return ScalarNode(lambda moment: float(choose(first(moment), second(moment))))

    return compile_


CALLS: dict[str, Function] = {
    **{name: Function(_elementwise(name)) for name in maths.ELEMENTWISE},
    **{name: Function(_with_scalars(name)) for name in maths.WITH_SCALARS},
    **{name: Function(_date(name)) for name in dates.DATES},
    **{
        name: Function(_over_range(one), one.experimental, stable_in_2=name == "double_exponential_smoothing")
        for name, one in RANGES.items()
    },
    "absent": Function(_absent),
    "absent_over_time": Function(_absent_over_time),
    "clamp": Function(_clamp),
    "histogram_avg": Function(_of_native),
    "histogram_count": Function(_of_native),
    "histogram_fraction": Function(_histogram_fraction),
    "histogram_quantile": Function(_histogram_quantile),
    "histogram_quantiles": Function(_histogram_quantiles, experimental=True),
    "histogram_stddev": Function(_of_native),
    "histogram_stdvar": Function(_of_native),
    "histogram_sum": Function(_of_native),
    "label_join": Function(_label_join),
    "label_replace": Function(_label_replace),
    "max_of": Function(_extremum(np.maximum), experimental=True),
    "min_of": Function(_extremum(np.minimum), experimental=True),
    "pi": Function(lambda _, __: ScalarNode(lambda _: math.pi)),
    "scalar": Function(lambda compiler, args: ScalarNode(labelling.to_scalar(compiler.vector(args[0]).run))),
    "sort": Function(_sort(descending=False)),
    "sort_by_label": Function(_sort_by_label(descending=False), experimental=True),
    "sort_by_label_desc": Function(_sort_by_label(descending=True), experimental=True),
    "sort_desc": Function(_sort(descending=True)),
    "time": Function(lambda _, __: ScalarNode(lambda moment: moment.time)),
    "timestamp": Function(_timestamp),
    "vector": Function(lambda compiler, args: VectorNode(labelling.to_vector(compiler.scalar(args[0]).run))),
}
