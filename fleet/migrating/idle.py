"""Scripts that have nothing to do: those of merges, and of extensions that are there."""

from __future__ import annotations

import ast
import re

_EXTENSION = re.compile(r"\s*create\s+extension\b[^;]*;?\s*", re.IGNORECASE)


def does_nothing(source: bytes) -> bool:
    """Whether `upgrade()`, as written, is empty, or only makes extensions, which leave no rows.

    False where there is no such function, or the source cannot be parsed.
    """
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return False
    found = [one for one in body if isinstance(one, ast.FunctionDef) and one.name == "upgrade"]
    return len(found) == 1 and not found[0].decorator_list and all(map(_is_idle, found[0].body))


def _is_idle(statement: ast.stmt) -> bool:
    match statement:
        case ast.Pass() | ast.Expr(ast.Constant()):
            return True
        case ast.Expr(ast.Call(ast.Attribute(ast.Name("op"), "execute"), [ast.Constant(str(sql))], [])):
            return _EXTENSION.fullmatch(sql) is not None
    return False
