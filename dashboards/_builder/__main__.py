"""`python -m dashboards._builder` writes every dashboard into its file."""

from __future__ import annotations

import json
from pathlib import Path

from dashboards._builder import actions, backups, daemon, environment, fleet, vectors
from dashboards._builder.panels import Json

ALL = (fleet, environment, vectors, backups, actions, daemon)


def files() -> dict[str, str]:
    """The text of every dashboard by the name of its file."""
    built: list[Json] = [module.build() for module in ALL]
    return {
        f"{one['uid'].removeprefix('custode-')}.json": json.dumps(one, indent=2, ensure_ascii=False) + "\n"
        for one in built
    }


if __name__ == "__main__":
    for name, text in files().items():
        (Path(__file__).parents[1] / name).write_text(text, encoding="utf-8")
