"""The reference parts of the README, generated from the code: `make docs` writes them, a test compares them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from daemon.config import reference as configuration
from daemon.reference._errors import errors_reference
from daemon.reference._plugins import actions_reference, masks_reference, metrics_reference, rules_reference

PARTS: Mapping[str, Callable[[], str]] = {
    "configuration": configuration.render,
    "metrics": metrics_reference,
    "rules": rules_reference,
    "actions": actions_reference,
    "masks": masks_reference,
    "errors": errors_reference,
}


def filled(text: str) -> str:
    """`text` with what stands between the lines `<!-- NAME: begin -->` and `<!-- NAME: end -->` generated anew.

    Raises:
        ValueError: a part is missing, or there twice.
    """
    for name, generate in PARTS.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        head, *rest = re.split(f"{re.escape(begin)}.*?{re.escape(end)}", text, flags=re.DOTALL)
        if len(rest) != 1:
            raise ValueError(f"the text has {len(rest)} parts called {name}, it must have one")
        text = f"{head}{begin}\n\n{generate().strip()}\n\n{end}{rest[0]}"
    return text
