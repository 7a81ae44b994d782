"""Lines of the text format 0.0.4 and of OpenMetrics 1.0: the headers differ, the samples are the same.

Sources: prometheus.io "Exposition formats"; OpenMetrics 1.0.0, "Text format".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from collectors import Metric

_NUMBERS = frozenset({int, float})


def header(metric: Metric, *, openmetrics: bool) -> bytes:
    """HELP and TYPE. OpenMetrics names the family, without the suffix of its samples, and knows `info`."""
    name, kind = metric.name, str(metric.kind)
    text = metric.help.replace("\\", r"\\").replace("\n", r"\n")
    if openmetrics:
        text = text.replace('"', r"\"")
        name = name.removesuffix({"counter": "_total", "info": "_info"}.get(kind, ""))
    elif kind == "info":
        kind = "gauge"
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n".encode()


def label_value(value: Any) -> str:
    """The text of a label value as SQL gave it: None is empty, a truth value is `true` or `false`."""
    if value is None:
        return ""
    if value is True or value is False:
        return "true" if value else "false"
    return str(value)


def label_prefix(environment_labels: Mapping[str, str], names: Sequence[str]) -> str:
    """The opening of a label set; a family's own label wins over an environment's of the same name."""
    pairs = (f'{name}="{_escape(value)}"' for name, value in environment_labels.items() if name not in names)
    return "{" + ",".join(pairs)


def label_text(prefix: str, names: Sequence[str], values: Iterable[Any]) -> str:
    """The whole label set with the blank before the value; an empty label is as good as none and left out."""
    text = prefix
    for name, value in zip(names, values, strict=True):
        if shown := label_value(value):
            text += f'{"" if text == "{" else ","}{name}="{_escape(shown)}"'
    return text + "} "


def sample_lines(name: str, labels: Sequence[str], values: Sequence[Any]) -> bytes:
    """One line a value that is not None.

    Raises:
        TypeError: a value is no number.
    """
    kinds = set(map(type, values))
    if kinds <= _NUMBERS and (float not in kinds or math.isfinite(sum(values))):
        return "".join([f"{name}{text}{value!r}\n" for text, value in zip(labels, values, strict=True)]).encode()
    shown = [f"{name}{text}{_number(value)}\n" for text, value in zip(labels, values, strict=True) if value is not None]
    return "".join(shown).encode()


def _escape(text: str) -> str:
    # a mount point may hold bytes that are no UTF-8; they must not cost the page
    clean = text if text.isascii() else text.encode("utf-8", "replace").decode()
    return clean.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: Any) -> str:
    if isinstance(value, str):
        raise TypeError(f"the value {value!r} is a text, not a number")
    if isinstance(value, int):
        return repr(int(value))
    number = float(value)
    if math.isfinite(number):
        return repr(number)
    return "NaN" if math.isnan(number) else "+Inf" if number > 0 else "-Inf"
