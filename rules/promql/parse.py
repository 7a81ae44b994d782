"""The only door to promql-parser, which reads the text of an expression."""

from __future__ import annotations

import re

import promql_parser

from rules.errors import QueryError

# promql-parser overflows the stack, which kills the process, on some 3,000 nested nodes; a chain of operators nests.
_MOST = 800
_QUOTED = re.compile(r"""#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`""", re.DOTALL)
_NESTING = re.compile(r"[-+*/%^(\[{]|[=!<>]=?|\b(?:and|or|unless|atan2)\b", re.IGNORECASE)


def parse(text: str) -> promql_parser.Expr:
    """The syntax tree of an expression. Raises QueryError."""
    operators = len(_NESTING.findall(_QUOTED.sub("''", text)))
    if operators > _MOST:
        raise QueryError(f"the expression has {operators} operators and brackets, at most {_MOST} are read")
    try:
        return promql_parser.parse(text)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic inside the parser derives from it alone
        raise QueryError(f"could not parse expression: {error}") from error
