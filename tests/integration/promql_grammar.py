"""Random PromQL over the series of promql_series: the whole language, right and sometimes wrong.

What is `exact` is the same to the last digit however it is computed, so that comparing and counting it is no matter of
rounding.
"""

from __future__ import annotations

import random
from collections.abc import Callable

SERIES = [
    "g", "g", "h", "h", "c_total", "lat_bucket", "lat_count", "i", "one", "flat", "u", "none",
    'g{a="1"}', 'g{a!="1"}', 'g{a=~"1|2"}', 'g{b=~"p.*"}', 'g{b!~"[pq]"}', 'g{a=""}', 'g{a!=""}', 'h{a=~"1|3",b="q"}',
    'g{a=~"x.y"}', 'g{a=~".*y"}', 'g{a=~"x\\ny"}', "g{a=~`a\\.b`}", 'g{b=~"(?i)P"}', 'g{zz=""}', 'g{zz=~".*"}',
    '{__name__="g"}', '{__name__=~"g|h",b="p"}', '{__name__!~"[a-hj-z].*"}', '{a="1",__name__=~".+"}', "{__name__='h'}",
    'c_total{a="1"}', 'lat_bucket{le="+Inf"}', 'lat_bucket{le=~"0.*"}', 'none{a="1",b=~"x"}', 'g{a="1",a="1"}',
    'g{a="1",a!="2"}', 'one{a="2"}',
]  # fmt: skip
ROUGH = ["odd", "t", 'odd{x=~"1|2"}', "lat_sum", 't{x="1"}']  # NaN, infinities, numbers of many digits
DURATIONS = ["30s", "1m", "45s", "2m", "5m", "1m30s", "7m", "13m", "1ms", "29s999ms", "40m", "1h", "5m0s"]
SHORT = ["1m", "90s", "3m", "5m", "4m10s", "10m", "30s"]
STEPS = ["", "", "30s", "1m", "37s", "10s", "5m", "7s500ms", "1h"]
LABELS = ["a", "b", "le", "w", "x", "zz", "__name__"]
ARITHMETIC = ["+", "-", "*", "/", "^", "atan2"]
COMPARISONS = ["==", "!=", ">", "<", ">=", "<="]
OVER_TIME = ["sum", "avg", "min", "max", "count", "last", "present", "stddev", "stdvar"]
RATES = ["rate", "increase", "irate", "delta", "idelta", "deriv", "changes", "resets"]
MATHS = [
    "abs", "ceil", "floor", "exp", "ln", "log2", "log10", "sqrt", "sgn", "asin", "acos", "atan",
    "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "deg", "rad",
]  # fmt: skip
DATES = ["minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year"]
NUMBERS = ["0", "1", "2", "0.5", "-1", "-0", "1e3", "3.75", "Inf", "-Inf", "NaN", "0x1F", "+2", "1e-3", "10"]
PHIS = ["0.5", "0.9", "0", "1", "-1", "2", "NaN", "0.25", "Inf", "scalar(one)", "-0"]

BROKEN = [
    "RANGE", "rate(VECTOR)", "sum(RANGE)", "(SCALAR) and (VECTOR)", "SCALAR > SCALAR", "-RANGE", "(VECTOR) + on (a)",
    "topk(VECTOR, VECTOR)", "abs(SCALAR)", "(VECTOR) + bool (VECTOR)", "(VECTOR) and on (a) group_left (VECTOR)",
    "(VECTOR)[5m]", "(VECTOR) * on (a) group_left (a) (VECTOR)", "holt_winters(RANGE, 1.5, 0.5)", "vector(VECTOR)",
    "count_values(1, VECTOR)", 'count_values("bad-name", VECTOR)', "scalar(SCALAR)", "histogram_quantile(VECTOR)",
    "VECTOR ==", "round(VECTOR, 1, 2)", "clamp(VECTOR)", "topk(1e20, VECTOR)", "first_over_time(RANGE)",
    "VECTOR @ RANGE", "nothing(VECTOR)", "label_replace(VECTOR, 'a')", "hour(SCALAR)", "timestamp(RANGE)",
    "min(RANGE) > 1",
]  # fmt: skip


class Grammar:
    """`expression()` is a new one each time; all randomness is that of `rng`. `pinned`: with `@ start()`, `@ end()`."""

    def __init__(self, rng: random.Random, *, pinned: bool = True) -> None:
        self._rng = rng
        self._moments = ["600", "1234.567", "0", "-10", "1e3", "2400", "30", *(["start()", "end()"] if pinned else [])]

    def expression(self) -> str:
        kinds = [*[self.vector] * 12, self.scalar, self.broken]
        return self._rng.choice(kinds)(self._rng.choice([1, 2, 2, 3, 3, 4]))

    def vector(self, depth: int) -> str:
        if depth <= 0:
            return self._some([self.selector, self.selector, self.rough], 0)
        return self._some([
            self.exact, self.exact, self.ranged_function, self.ranged_function, self.ranged_function, self.aggregation,
            self.aggregation, self.arithmetic, self.arithmetic, self.maths, self.date, self.quantile, self.histogram,
            self.relabelled, self.set_operation, self.rounded, self.mixed, self.sorted, self.ranked,
        ], depth)  # fmt: skip

    def exact(self, depth: int) -> str:
        if depth <= 0:
            return self.selector(0)
        return self._some([
            self.selector, self.comparison, self.comparison, self.comparison, self.set_of_exact, self.exact_aggregation,
            self.exact_over_time, self.relabelled, self.filtered, self.negated, self.clamped, self.absent,
            self.timestamp, self.exact_sum, self.counted, self.from_scalar, self.ranked, self.sorted_exact,
        ], depth)  # fmt: skip

    def _some(self, kinds: list[Callable[[int], str]], depth: int) -> str:
        return self._rng.choice(kinds)(depth - 1)

    # selectors and ranges

    def selector(self, _: int) -> str:
        return self._one(SERIES) + self.modifiers()

    def rough(self, _: int) -> str:
        return self._one(ROUGH) + self.modifiers()

    def modifiers(self) -> str:
        parts = []
        if self._rng.random() < 0.15:
            parts.append(" offset " + self._one(["", "", "-"]) + self._one(DURATIONS))
        if self._rng.random() < 0.15:
            parts.append(" @ " + self._one(self._moments))
        self._rng.shuffle(parts)
        return "".join(parts)

    def ranged(self, depth: int, *, exact: bool = False) -> str:
        if self._rng.random() < 0.65:
            name = self._one(SERIES if exact else [*SERIES, *ROUGH])
            return f"{name}[{self._one(DURATIONS)}]{self.modifiers()}"
        inner = self.exact(depth - 1) if exact else self.vector(depth - 1)
        if self._rng.random() < 0.1:
            inner = self.scalar(depth - 1) if not exact else self._one(["time()", "vector(1)", "1"])
        return f"({inner})[{self._one(SHORT)}:{self._one(STEPS)}]{self.modifiers()}"

    def ranged_function(self, depth: int) -> str:
        function = self._one([*RATES, *RATES, "over", "over", "over", "quantile", "predict", "smooth", "absent"])
        if function in RATES:
            return f"{function}({self.ranged(depth)})"
        ranged = self.ranged(depth)
        return {
            "over": f"{self._one(OVER_TIME)}_over_time({ranged})",
            "quantile": f"quantile_over_time({self._one(PHIS)}, {ranged})",
            "predict": f"predict_linear({ranged}, {self._one([*NUMBERS, '60', '-3600'])})",
            "smooth": f"holt_winters({ranged}, {self._one(['0.5', '0.1', '0.9'])}, {self._one(['0.3', '0.99'])})",
            "absent": f"absent_over_time({ranged})",
        }[function]

    def exact_over_time(self, depth: int) -> str:
        function = self._one(["min", "max", "count", "last", "present", "sum", "absent"])
        over = f"{function}_over_time({self.ranged(depth, exact=True)})"
        ranged = self.ranged(depth, exact=True)
        return self._one([over, over, f"changes({ranged})", f"resets({ranged})", f"idelta({ranged})"])

    # operators

    def matching(self) -> str:
        labels = ", ".join(self._rng.sample(LABELS, self._rng.choice([0, 1, 1, 1, 2, 2])))
        return self._one(["", "", "", f" on ({labels})", f" on ({labels})", f" ignoring ({labels})", " on (a, b)"])

    def grouped(self) -> str:
        matching = self.matching() or self._one([" on (a)", " ignoring (w)", " ignoring (b)"])
        included = self._one(["", "()", "(w)", "(w, zz)", "(b)", "(le)", "(__name__)"])
        return f"{matching} group_{self._one(['left', 'right'])} {included}".rstrip()

    def _binary(self, left: str, operator: str, right: str, *, sets: bool = False) -> str:
        matching = self.grouped() if not sets and self._rng.random() < 0.3 else self.matching()
        return f"({left}) {operator}{matching} ({right})"

    def arithmetic(self, depth: int) -> str:
        return self._binary(self.vector(depth), self._one(ARITHMETIC), self.vector(depth))

    def comparison(self, depth: int) -> str:
        operator = self._one(COMPARISONS) + self._one(["", " bool"])
        return self._binary(self.exact(depth), operator, self.exact(depth))

    def exact_sum(self, depth: int) -> str:
        return self._binary(self.exact(depth), self._one(["+", "-", "%"]), self.exact(depth))

    def set_operation(self, depth: int) -> str:
        return self._binary(self.vector(depth), self._one(["and", "or", "unless"]), self.vector(depth), sets=True)

    def set_of_exact(self, depth: int) -> str:
        return self._binary(self.exact(depth), self._one(["and", "or", "unless"]), self.exact(depth), sets=True)

    def mixed(self, depth: int) -> str:
        sides = [f"({self.vector(depth)})", self.scalar(depth)]
        self._rng.shuffle(sides)
        return f"{sides[0]} {self._one(ARITHMETIC)} {sides[1]}"

    def filtered(self, depth: int) -> str:
        sides = [f"({self.exact(depth)})", self._one([*NUMBERS, "scalar(one)", "time()", "scalar(flat)"])]
        self._rng.shuffle(sides)
        return f"{sides[0]} {self._one(COMPARISONS)}{self._one(['', ' bool'])} {sides[1]}"

    def negated(self, depth: int) -> str:
        return f"{self._one(['-', '+', '-'])}({self.exact(depth)})"

    # aggregations

    def grouping(self) -> str:
        labels = ", ".join(self._rng.sample(LABELS, self._rng.choice([0, 1, 1, 2])))
        return self._one(
            ["", "", f" by ({labels})", f" by ({labels})", f" without ({labels})", " by ()", " without ()"]
        )

    def aggregation(self, depth: int) -> str:
        operator = self._one(["sum", "avg", "stddev", "stdvar", "min", "max"])
        if self._rng.random() < 0.3:
            return f"{operator} ({self.vector(depth)}){self.grouping()}"
        return f"{operator}{self.grouping()} ({self.vector(depth)})"

    def exact_aggregation(self, depth: int) -> str:
        operator = self._one(["sum", "min", "max", "count", "group"])
        return f"{operator}{self.grouping()} ({self.exact(depth)})"

    def quantile(self, depth: int) -> str:
        return f"quantile{self.grouping()} ({self._one(PHIS)}, {self.vector(depth)})"

    def counted(self, depth: int) -> str:
        label = self._one(["v", "a", "zz"])
        return f'count_values{self.grouping()} ("{label}", {self.exact(depth)})'

    def ranked(self, _: int) -> str:
        k = self._one(["1", "2", "3", "0", "-1", "2.9", "100", "scalar(one)", "NaN", "Inf", "-Inf"])
        inner = self._one(
            ["u", "u", "u * 2", "-u", "u offset 1m", 'u{a="1"}', "u > 0", "u @ 600", "max_over_time(none[5m])"]
        )
        return f"{self._one(['topk', 'bottomk'])}{self.grouping()} ({k}, {inner})"

    # functions

    def maths(self, depth: int) -> str:
        # the sine of a number with many digits before the point is a matter of the library
        if self._rng.random() < 0.3:
            return f"{self._one(['sin', 'cos', 'tan'])}({self.exact(depth)})"
        return f"{self._one(MATHS)}({self.vector(depth)})"

    def date(self, depth: int) -> str:
        inner = self._one(["", "t", f"({self.exact(depth)}) * 86400", "odd", "vector(time() * 1e6)", "t % 1e9"])
        return f"{self._one(DATES)}({inner})"

    def rounded(self, depth: int) -> str:
        return f"round({self.exact(depth)}{self._one(['', ', 0.5', ', 10', ', 0', ', -2', ', 0.125', ', NaN'])})"

    def clamped(self, depth: int) -> str:
        low, high, vector = self._one(NUMBERS), self._one(NUMBERS), self.exact(depth)
        return self._one(
            [f"clamp({vector}, {low}, {high})", f"clamp_min({vector}, {low})", f"clamp_max({vector}, {high})"]
        )

    def absent(self, depth: int) -> str:
        return f"absent({self._one(SERIES) if self._rng.random() < 0.6 else self.exact(depth)})"

    def timestamp(self, depth: int) -> str:
        return f"timestamp({self.exact(depth)})"

    def sorted(self, depth: int) -> str:
        return f"{self._one(['sort', 'sort_desc'])}({self.vector(depth)})"

    def sorted_exact(self, depth: int) -> str:
        return f"{self._one(['sort', 'sort_desc'])}({self.exact(depth)})"

    def relabelled(self, depth: int) -> str:
        vector, target = self.exact(depth), self._one(["z", "a", "b", "__name__", "le", "bad-name"])
        if self._rng.random() < 0.3:
            sources = ", ".join(f'"{one}"' for one in self._rng.sample(LABELS, self._rng.randrange(4)))
            return f'label_join({vector}, "{target}", "{self._one(["-", "", "."])}"{", " + sources if sources else ""})'
        replacement = self._one(["$1", "x", "", "${1}-$1", "$0", "$word", "$$1", "$2", "$1x"])
        pattern = self._one(["(.*)", "(?P<word>.+)", "", "(1|p)", ".*(.)", "[^a-z]*", "(p)?.*", "(x.y)", "("])
        return f'label_replace({vector}, "{target}", "{replacement}", "{self._one(LABELS)}", "{pattern}")'

    def histogram(self, _: int) -> str:
        inner = self._one([
            "lat_bucket", "rate(lat_bucket[5m])", "sum by (le, a) (rate(lat_bucket[10m]))", "sum by (le) (lat_bucket)",
            "increase(lat_bucket[7m])", "lat_bucket - lat_bucket offset 5m", 'lat_bucket{le!="+Inf"}', "g",
            "sum without (a) (lat_bucket)", "lat_bucket * 0", "lat_bucket{a='1'} or g", "sum by (a) (lat_bucket)",
        ])  # fmt: skip
        return f"histogram_quantile({self._one([*PHIS, '0.75', '0.99', '0.01'])}, {inner})"

    # scalars

    def scalar(self, depth: int) -> str:
        if depth <= 0:
            return self._one([*NUMBERS, "time()", "pi()", "scalar(one)", "scalar(g)"])
        left, right = self.scalar(depth - 2), self.scalar(depth - 2)
        return self._one([
            f"scalar({self.vector(depth - 1)})", f"({left} {self._one(ARITHMETIC)} {right})", f"-({left})",
            f"({self._one(NUMBERS)} {self._one(COMPARISONS)} bool {self._one(NUMBERS)})",
        ])  # fmt: skip

    def from_scalar(self, _: int) -> str:
        return self._one(["vector(1)", "vector(time())", "vector(scalar(one))", "vector(NaN)", "vector(scalar(none))"])

    # what must be refused

    def broken(self, depth: int) -> str:
        text = self._one(BROKEN).replace("VECTOR", self.vector(depth - 1)).replace("SCALAR", self.scalar(0))
        return text.replace("RANGE", self.ranged(depth - 1))

    def _one(self, choices: list[str]) -> str:
        return self._rng.choice(choices)
