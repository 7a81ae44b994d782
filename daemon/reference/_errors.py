"""The codes of errors, by which people search."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module

from daemon.reference._table import table
from fleet.errors import CustodeError

_PACKAGES = ("fleet", "collectors", "actions", "rules", "daemon")


def error_kinds() -> dict[str, type[CustodeError]]:
    """Every code and the class that says it. Imports all there is.

    Raises:
        ValueError: two classes say the same code.
    """
    for name in _PACKAGES:
        for module in pkgutil.walk_packages(import_module(name).__path__, f"{name}."):
            if not module.name.endswith("__main__"):
                import_module(module.name)
    kinds: dict[str, type[CustodeError]] = {}
    for kind in _below(CustodeError):
        code = vars(kind).get("code")
        if code is None:  # says that of the class above
            continue
        if kinds.setdefault(code, kind) is not kind:
            raise ValueError(f"{kind.__name__} and {kinds[code].__name__} have the same code {code}")
    return dict(sorted(kinds.items()))


def _below(kind: type[CustodeError]) -> Iterator[type[CustodeError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from _below(one)


def errors_reference() -> str:
    """One table of all codes."""
    rows = []
    for code, kind in error_kinds().items():
        first = (inspect.getdoc(kind) or "").partition("\n\n")[0]
        rows.append((f"`{code}`", " ".join(first.split())))
    return table(("code", "what it says"), rows)
