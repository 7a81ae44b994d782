"""Grammars of PromQL and of rule files for hypothesis: mostly valid, often a little wrong, sometimes broken.

They leave out what Prometheus 2.42, whose promtool is the judge, and Prometheus 3, whose language is ours, see
differently:
- UTF-8 and quoted names; `query_offset` and `labels` of groups; null, lists and wrong tags for expr, record and alert;
- numbers in place of durations (`[300]`, `offset 5`), durations in place of numbers (`x > 5m`), durations that are
  computed (`[5m * 2]`), digits in groups (`1_000`);
- functions, aggregations and modifiers younger than 2.42 (info, sort_by_label, limitk, anchored ...), also as names of
  metrics, and holt_winters, which has got another name;
- empty label names in label_replace, label_join and count_values: promtool leaves them to the evaluation;
- `%YAML 1.2` and `\\/` in quotes, which Go's older libyaml refuses.
"""

from __future__ import annotations

import re
from random import Random

import yaml
from hypothesis import strategies as st

METRICS = [
    "up",
    "a:b",
    "x_total",
    "sum",
    "rate",
    "on",
    "bool",
    "by",
    "group_left",
    "avg",
    "and",
    "Inf",
    "NaN",
    "_",
    "x.y",
]
LABELS = ["a", "job", "le", "_", "by", "on", "sum", "__name__", "and", "offset"]
BAD_LABELS = ["1a", "a-b", "a:b", ""]
DURATIONS = ["5m", "1h30m", "1d", "10ms", "1y2w"]
BAD_DURATIONS = ["0s", "5m1h", "-5m", "1.5h", "5x", "1s1s", "", "m"]
NUMBERS = ["0", "1", "-1", "+1", "1.5", ".5", "1e3", "1e-3", "0x1F", "Inf", "-inf", "NaN", "007", "1."]
BAD_NUMBERS = ["1e", "0x", "1.2.3", "1a", "--1", "0b1", "5 5"]
STRINGS = ['"a"', "'a'", "`a`", '""', '"\\n"', '"é"', '"$1"', '"\\u00e9"', "'\\''", '"a b"']
LABEL_TEXTS = ['"a"', "'job'", "`le`"]
BAD_STRINGS = ['"\\q"', '"a', "'a", "`a", '"\\x"', "a"]
REGEXES = ['"a|b"', '".*"', '".+"', '"a{2}"', '"(?i)a"', '"\\\\d"', '"\\\\pL"', '"[[:alpha:]]"', '""', '"(?P<n>a)"']
BAD_REGEXES = ['"("', '"[a"', '"(?=a)"', '"a**"', '"a{3,2}"', '"\\\\1"', '"(?<!a)"', '"a{1001}"', '"*"', '"\\\\Z"']
ARITHMETIC = ["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<="]
SETS = ["and", "or", "unless", "AND"]
BAD_OPERATORS = ["=", "=~", "!", "&&", "<>", "not", "on", ","]
AGGREGATIONS = ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", "SUM"]
# functions by the types of their arguments: v(ector), s(calar), m(atrix), t(ext), l(abel name)
FUNCTIONS = {
    "m": ["rate", "irate", "increase", "delta", "idelta", "deriv", "changes", "resets", "absent_over_time",
          "avg_over_time", "sum_over_time", "min_over_time", "last_over_time", "present_over_time", "stddev_over_time"],
    "v": ["abs", "ceil", "floor", "exp", "ln", "log2", "sqrt", "sgn", "absent", "sort", "sort_desc", "timestamp",
          "acos", "deg", "round", "hour", "days_in_month"],
    "vs": ["clamp_min", "clamp_max", "round"], "vss": ["clamp"], "sm": ["quantile_over_time"], "ms": ["predict_linear"],
    "sv": ["histogram_quantile"], "s": ["vector"], "": ["time", "pi", "hour", "minute", "day_of_week"],
    "vltlt": ["label_replace"], "vltl": ["label_join"], "vlt": ["label_join"],
}  # fmt: skip
SOUP = ["up", "sum", "rate", "(", ")", "(", ")", "{", "}", "[5m]", "[5m:]", "[", "]", ",", "-", "+", "*", "==", "bool",
        "by", "(a)", "on", "and", "offset", "5m", "@", "1", '"a"', "=", "=~", "{a='b'}", "time()", "start()", "# x",
        "#", "\n", "\t", "\\", "$", "~", "!", "é", "\u00a0", ".", ":", "without", "unless", "topk", "\r"]  # fmt: skip
# promtool refuses these, promql-parser does not: numbers and durations out of range, a plus before what is no number
KNOWN = ["+up[5m]", '+"a"', "rate(+up[5m])"]
_TOKEN = re.compile(
    r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|`[^`]*`|[a-zA-Z_:][\w:.]*|[\d.]+\w*|[=!<>]=?~?|\s+|.', re.DOTALL
)
_GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_LABEL_FUNCTIONS = ("label_replace", "label_join", "count_values")
_ENDS = (")", "]", "}", "_")
_DURATION = re.compile(r"\d+(?:ms|[smhdwy])\w*")


def expressions() -> st.SearchStrategy[str]:
    return st.randoms(use_true_random=True).map(_expression).filter(_is_judged_alike)


def rule_files() -> st.SearchStrategy[str]:
    return st.randoms(use_true_random=True).map(_rule_file).filter(lambda text: "\n  labels:" not in text)


def _is_judged_alike(text: str) -> bool:
    """Whether durations, numbers and quotes are where both want them: Prometheus 3 takes more in many places."""
    if any(name in text for name in _LABEL_FUNCTIONS) and any(empty in text for empty in ('""', "''", "``")):
        return False
    before, names, signed = "", False, False
    for part in _TOKEN.findall(text):
        if part == "+" and not (before[-1:].isalnum() or before[-1:] in _ENDS):
            return False  # one of the parser's defects, see KNOWN
        if part.isspace() or part in "+-":
            signed = signed or part in "+-"
            continue
        if part[0].isdigit() and (before in {"[", ":", "offset"}) is not bool(_DURATION.fullmatch(part)):
            return False
        if part == "offset" and (signed or not (before[-1:].isalnum() or before[-1:] in _ENDS)):
            return False  # as the name of a metric
        if part[0] in "\"'`" and names and before in {"{", "(", ","}:
            return False
        if part in "{(":
            names = part == "{" or before.lower() in _GROUPING
        elif part in "})":
            names = False
        before, signed = part, False
    return True


def one(rng: Random, good: list[str], bad: list[str]) -> str:
    return rng.choice(bad if _rarely(rng) else good)


def _rarely(rng: Random) -> bool:
    return rng.random() < 0.03


def _expression(rng: Random) -> str:
    """An expression; one in four then gets a token removed, doubled, moved or replaced, and one in ten is rubbish."""
    if rng.random() < 0.1:
        return rng.choice(["", " "]).join(rng.choice(SOUP) for _ in range(rng.randrange(1, 9)))
    text = _any(rng, int(rng.choice("0112233")))
    if rng.choice("abcd") != "a":
        return text
    tokens = _TOKEN.findall(text)
    place, other = (rng.randrange(len(tokens)) for _ in range(2))
    match rng.choice(["remove", "double", "swap", "replace"]):
        case "remove":
            del tokens[place]
        case "double":
            tokens.insert(place, tokens[place])
        case "swap":
            tokens[place], tokens[other] = tokens[other], tokens[place]
        case _:
            tokens[place] = rng.choice(["(", ")", "{", "}", "[", "]", ",", "by", "on", "x", "1", "-", " "])
    return "".join(tokens)


def _any(rng: Random, depth: int) -> str:
    return _typed(rng, rng.choice("vvvvvvsm"), depth)


def _typed(rng: Random, kind: str, depth: int) -> str:
    """An expression of a type, or now and then of another."""
    if _rarely(rng):
        kind = rng.choice("vsmt")
    if kind == "l":
        return rng.choice(LABEL_TEXTS)
    if kind == "t":
        return one(rng, STRINGS, BAD_STRINGS)
    if kind == "m":
        return _matrix(rng, depth)
    if kind == "s":
        return _scalar(rng, depth)
    return _vector(rng, depth)


def _scalar(rng: Random, depth: int) -> str:
    match rng.choice("nnnntsb") if depth else "n":
        case "t":
            return rng.choice(["time()", "pi()", "-time()"])
        case "s":
            return f"scalar({_typed(rng, 'v', depth - 1)})"
        case "b":
            left, right = (_typed(rng, "s", depth - 1) for _ in range(2))
            return f"({left} {one(rng, ARITHMETIC[:7], [*ARITHMETIC, *SETS])} {right})"
        case _:
            return one(rng, NUMBERS, BAD_NUMBERS)


def _matrix(rng: Random, depth: int) -> str:
    length = one(rng, DURATIONS, BAD_DURATIONS)
    if depth and rng.choice("rrs") == "s":
        step = rng.choice(["", "1m", "30s", one(rng, DURATIONS, BAD_DURATIONS)])
        inner = _typed(rng, "v", depth - 1)
        return f"{inner if rng.choice('ab') == 'a' else f'({inner})'}[{length}:{step}]{_modifier(rng)}"
    return f"{_selector(rng)}[{length}]{_modifier(rng)}"


def _modifier(rng: Random) -> str:
    at = one(rng, ["start()", "end()", "0", "-5", "1.5", "1e3"], ["foo", "()", "NaN", "Inf", "start", ""])
    offset = rng.choice(["5m", "-5m", one(rng, DURATIONS, BAD_DURATIONS)])
    return rng.choice(
        ["", "", "", "", f" offset {offset}", f" @ {at}", f" @ {at} offset {offset}", f" offset {offset} @ {at}"]
    )


def _selector(rng: Random) -> str:
    matchers = ", ".join(_matcher(rng) for _ in range(int(rng.choice("0001112"))))
    name = rng.choice(["up", "up", "x_total", "", one(rng, METRICS, ["1x", "é", "a-b"])])
    comma = "," if matchers and _rarely(rng) else ""
    return f"{name}{{{matchers}{comma}}}" if matchers or not name or _rarely(rng) else name


def _matcher(rng: Random) -> str:
    label = one(rng, LABELS, BAD_LABELS)
    if rng.choice("er") == "e":
        return f"{label}{one(rng, ['=', '!='], ['==', '<', ''])}{one(rng, STRINGS, BAD_STRINGS)}"
    return f"{label}{rng.choice(['=~', '!~'])}{one(rng, REGEXES, BAD_REGEXES)}"


def _vector(rng: Random, depth: int) -> str:
    match rng.choice("sfffaabbbpu") if depth else "s":
        case "f":
            return _call(rng, depth)
        case "a":
            return _aggregation(rng, depth)
        case "b":
            return _binary(rng, depth)
        case "p":
            return f"({_typed(rng, 'v', depth - 1)})"
        case "u":
            return f"-{_typed(rng, 'v', depth - 1)}"
        case _:
            return f"{_selector(rng)}{_modifier(rng)}"


def _call(rng: Random, depth: int) -> str:
    types = rng.choice(list(FUNCTIONS))
    name = one(rng, FUNCTIONS[types], ["nothing", "rates", "sum_over", "vector_", "Rate"])
    if _rarely(rng):
        types = rng.choice(list(FUNCTIONS))
    return f"{name}({', '.join(_typed(rng, kind, depth - 1) for kind in types)})"


def _labels(rng: Random) -> str:
    return f"({', '.join(one(rng, LABELS, BAD_LABELS) for _ in range(int(rng.choice('00112'))))})"


def _aggregation(rng: Random, depth: int) -> str:
    grouping = rng.choice(["", f" {one(rng, ['by', 'without', 'BY'], ['on', 'ignoring', 'with'])} {_labels(rng)} "])
    inner = _typed(rng, "v", depth - 1)
    kind = rng.choice("pppktq")
    name, arguments = rng.choice(AGGREGATIONS), inner
    if kind == "k":
        name, arguments = (
            rng.choice(["topk", "bottomk", "quantile"]),
            f"{_typed(rng, 's', depth - 1)}, {inner}",
        )
    elif kind == "t":
        name, arguments = "count_values", f"{_typed(rng, 'l', 0)}, {inner}"
    elif kind == "q" and _rarely(rng):
        name = "topk"
    return f"{name}({arguments}){grouping}" if rng.choice("ab") == "a" else f"{name}{grouping}({arguments})"


def _binary(rng: Random, depth: int) -> str:
    left, right = _typed(rng, "v", depth - 1), _typed(rng, rng.choice("vvs"), depth - 1)
    operator = one(rng, [*ARITHMETIC, *SETS], BAD_OPERATORS)
    bool_ = " bool" if (operator in {"==", ">", "<="} and rng.choice("abc") == "a") or _rarely(rng) else ""
    matching = rng.choice(["", "", f" {rng.choice(['on', 'ignoring'])} {_labels(rng)}"])
    group = rng.choice(["", "", f" {rng.choice(['group_left', 'group_right'])} {_labels(rng)}", " group_left"])
    group = group if matching or _rarely(rng) else ""
    return f"{left} {operator}{bool_}{matching}{group} {right}"


TEXTS = [
    "",
    "x",
    "{{ $value }}",
    "{{ $labels.a }}",
    "{{ humanize $value }}",
    "{{ . }}",
    "{{ if gt $value 1.0 }}x{{ end }}",
]
BAD_TEXTS = [
    "{{",
    "{{ nothing }}",
    "{{ end }}",
    "{{ $x }}",
    "{{ if }}x{{ end }}",
    "{{ $value | }}",
    "{{ range }}",
    '{{ "a }}',
]
ODD_VALUES = ["5", "true", "1.5", "[]", "{}", "''", "-1", "0", ".nan", "2020-01-01", "'5m'", "!!str 5", "a: b",
              "&x y", "*x", "|", "~", "[a", "'", "{{ $value }}", "0x10", "yes", "'1'", "1e3"]  # fmt: skip


def _rule(rng: Random) -> dict[str, object]:
    alert = rng.choice("aar") != "r"
    rule: dict[str, object] = {"expr": _expression(rng) if _rarely(rng) else rng.choice(["up", "1", "x == 0"])}
    if alert or _rarely(rng):
        rule["alert"] = rng.choice(["A", "b c", "é", "{{ x }}", "5", ""])
    if not alert or _rarely(rng):
        rule["record"] = one(rng, ["a", "a:b", "_", "sum"], ["", "1a", "a b", "a-b", "a{}", "{"])
    for field in ("for", "keep_firing_for"):
        if (alert and rng.choice("abc") == "a") or _rarely(rng):
            rule[field] = one(rng, [*DURATIONS, "0", "0s"], BAD_DURATIONS)
    if rng.choice("abc") == "a":
        rule["labels"] = {one(rng, LABELS, BAD_LABELS): one(rng, TEXTS, BAD_TEXTS) for _ in range(2)}
    if (alert and rng.choice("abc") == "a") or _rarely(rng):
        rule["annotations"] = {one(rng, LABELS, BAD_LABELS): one(rng, TEXTS, BAD_TEXTS) for _ in range(2)}
    if _rarely(rng):
        rule[rng.choice(["fors", "Expr", "name", "null", "params"])] = "5m"
    return rule


def _rule_file(rng: Random) -> str:
    """The text of a rule file; one in two then gets a line removed, doubled, indented or with another value."""
    groups = []
    for _ in range(int(rng.choice("0112"))):
        group: dict[str, object] = {"name": one(rng, ["g", "h", "i", "5"], [""])}
        if rng.choice("abc") == "a":
            group["interval"] = one(rng, DURATIONS, BAD_DURATIONS)
        if rng.choice("abc") == "a":
            group["limit"] = 3
        group["rules"] = [_rule(rng) for _ in range(int(rng.choice("0112")))]
        groups.append(group)
    text = yaml.safe_dump({"groups": groups}, sort_keys=False, allow_unicode=True, width=10_000)
    return _mangled(rng, text) if rng.choice("ab") == "a" else text


def _mangled(rng: Random, text: str) -> str:
    lines = text.splitlines()
    place, other = (rng.randrange(len(lines)) for _ in range(2))
    match rng.choice(["remove", "double", "swap", "indent", "dedent", "value", "value", "value"]):
        case "remove":
            del lines[place]
        case "double":
            lines.insert(place, lines[place])
        case "swap":
            lines[place], lines[other] = lines[other], lines[place]
        case "indent":
            lines[place] = rng.choice([" ", "  ", "\t", "- "]) + lines[place]
        case "dedent":
            lines[place] = lines[place].removeprefix("  ")
        case _:
            key, colon, _ = lines[place].partition(": ")
            if key.strip(" -") not in {"expr", "alert", "record"}:
                lines[place] = f"{key}{colon or ': '}{rng.choice(ODD_VALUES)}"
    return "\n".join(lines) + "\n"
