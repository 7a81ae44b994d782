"""Errors of the rule engine. It imports nothing of ours, so it has its own.

RuleError
├── QueryError      an expression cannot be parsed, is not supported, or cannot be evaluated
├── TemplateError   a template cannot be parsed or expanded
├── StoreFullError       the sample store has no room for a batch
└── RuleFileError   rule files cannot be used; holds every problem found
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class RuleError(Exception):
    """Base: `message` says what happened, `hint` what to do about it."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class QueryError(RuleError):
    pass


class TemplateError(RuleError):
    pass


class StoreFullError(RuleError):
    pass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a rule file. Lines count from 1."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class RuleFileError(RuleError):
    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
