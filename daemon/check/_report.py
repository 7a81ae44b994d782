"""What a check found, for people and programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `environment` is None for what concerns this machine; `hint` says what to do."""

    environment: str | None
    level: Level
    subject: str
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    findings: tuple[Finding, ...] = ()

    def __add__(self, other: Report) -> Report:
        return Report(self.findings + other.findings)

    @property
    def exit_code(self) -> int:
        """Status for the shell: 1 when something is wrong; warnings are not."""
        return int(any(finding.level == "error" for finding in self.findings))


@dataclass(slots=True)
class Notes:
    """Collects the findings about one environment, or about this machine."""

    environment: str | None = None
    findings: list[Finding] = field(default_factory=list)

    def ok(self, subject: str, message: str) -> None:
        self.findings.append(Finding(self.environment, "ok", subject, message))

    def warning(self, subject: str, message: str, hint: str | None = None) -> None:
        self.findings.append(Finding(self.environment, "warning", subject, message, hint))

    def error(self, subject: str, message: str, hint: str | None = None) -> None:
        self.findings.append(Finding(self.environment, "error", subject, message, hint))
