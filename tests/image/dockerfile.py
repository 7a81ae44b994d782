"""A Dockerfile read into its stages, each with the instructions in order."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Stage:
    """What `FROM` begins. `env` holds what all ENV of the stage set, `steps` the rest, in order."""

    base: str
    name: str | None
    steps: list[tuple[str, str]] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)

    def last(self, instruction: str) -> str:
        """The arguments of the last one of this kind, the only one that counts in an image."""
        return [arguments for name, arguments in self.steps if name == instruction][-1]

    def command(self, instruction: str) -> list[str]:
        """The JSON array of CMD, ENTRYPOINT or HEALTHCHECK."""
        words: list[str] = json.loads(self.last(instruction)[self.last(instruction).index("[") :])
        return words


def read_stages(path: Path) -> list[Stage]:
    text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#"))
    stages: list[Stage] = []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        instruction, _, arguments = line.strip().partition(" ")
        match instruction.upper():
            case "":
                continue
            case "FROM":
                base, _, name = arguments.partition(" AS ")
                stages.append(Stage(base.strip(), name.strip() or None))
            case "ENV":
                stages[-1].env |= dict(pair.split("=", 1) for pair in shlex.split(arguments))
            case known:
                stages[-1].steps.append((known, arguments.strip()))
    return stages
