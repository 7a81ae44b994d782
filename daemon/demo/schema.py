"""The application's schema by Alembic, and which revision each environment is at."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

# the revision before the HNSW upgrade: what the guide calls the current production
FULL_TEXT = "9d03f6a1e87b"  # the last without a vector index
DEPLOYED = "e1f47b90c6a3"
PREVIOUS = "c58a2e7d41f0"
HNSW = "71d2c8e5fa94"

_lock = threading.Lock()  # `alembic.op` and `alembic.context` are global to the process


def config(dsn: str) -> Config:
    """Alembic's configuration of the reference schema on the database at `dsn`, from wherever we are installed."""
    settings = Config()
    settings.set_main_option("script_location", str(resources.files("migrations") / "reference").replace("%", "%%"))
    settings.set_main_option("sqlalchemy.url", dsn.replace("%", "%%"))
    return settings


def write_release(directory: Path, revision: str = DEPLOYED) -> Path:
    """Write the application's current release into `directory`: alembic.ini, env.py, the scripts up to `revision`.

    Compared with these, only qa is behind; with all of ours, each environment still lacks the HNSW upgrade.
    """
    scripts = ScriptDirectory.from_config(config(""))
    (directory / "versions").mkdir(parents=True, exist_ok=True)
    (directory / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s\npath_separator = os\n")
    shutil.copy(Path(scripts.dir) / "env.py", directory)
    for script in scripts.iterate_revisions(revision, "base"):
        shutil.copy(script.path, directory / "versions")
    return directory


async def upgrade(dsn: str, revision: str) -> None:
    """Bring the database to `revision`, from an older one. Other upgrades in this process wait."""
    await asyncio.to_thread(_locked, command.upgrade, dsn, revision)


async def downgrade(dsn: str, revision: str) -> None:
    """Take the database back to `revision` ("base": nothing)."""
    await asyncio.to_thread(_locked, command.downgrade, dsn, revision)


def _locked(do: Callable[[Config, str], None], dsn: str, revision: str) -> None:
    with _lock:
        do(config(dsn), revision)
