"""An application with Alembic, written for a test; and the kit's cases of what migrates."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.integration.actions_kit import Ground

ENV_PY = """
import os
from alembic import context
from sqlalchemy import create_engine, pool
url = os.environ["DATABASE_URL"]
if context.is_offline_mode():
    context.configure(url=url, literal_binds=True, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    with create_engine(url, poolclass=pool.NullPool).connect() as connection:
        context.configure(connection=connection, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
"""
_HEAD = '''"""{title}"""
import sqlalchemy as sa
from alembic import op
revision = {revision!r}
down_revision = {down!r}
branch_labels = None
depends_on = {depends_on!r}
'''
_BASE = """
op.create_table("notes", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("text", sa.Text()))
op.create_table("migrated", sa.Column("what", sa.Text()))
"""
_COLUMN = """
op.add_column("notes", sa.Column("at", sa.Date(), nullable=True))
op.execute("insert into migrated values ('up 2')")
"""
_COLUMN_BACK = """
op.drop_column("notes", "at")
op.execute("insert into migrated values ('down 2')")
"""
_INDEX = """
with op.get_context().autocommit_block():
    op.execute("create index concurrently if not exists notes_at on notes (at)")
op.execute("insert into migrated values ('up 3')")
"""
_INDEX_BACK = """
with op.get_context().autocommit_block():
    op.execute("drop index concurrently if exists notes_at")
op.execute("insert into migrated values ('down 3')")
"""


def script(
    revision: str, down: str | tuple[str, ...] | None, up: str, back: str, *, title: str = "", depends_on: Any = None
) -> str:
    """The text of a revision; `up` and `back` are lines of Python."""
    head = _HEAD.format(title=title or f"what {revision} does", revision=revision, down=down, depends_on=depends_on)
    bodies = [
        f"def {name}():\n" + "".join(f"    {line}\n" for line in (text.strip() or "pass").splitlines())
        for name, text in (("upgrade", up), ("downgrade", back))
    ]
    return head + "\n".join(bodies)


KIT = {
    "1_base": script("one", None, _BASE, 'op.drop_table("notes")\nop.drop_table("migrated")'),
    "2_column": script("two", "one", _COLUMN, _COLUMN_BACK, title="add the date"),
    "3_index": script("three", "two", _INDEX, _INDEX_BACK),
}


def write_application(folder: Path, scripts: Mapping[str, str], *, env: str = ENV_PY) -> Path:
    """An alembic.ini, its env.py, its revisions."""
    versions = folder / "migrations" / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    (folder / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/migrations\npath_separator = os\n")
    (folder / "migrations" / "env.py").write_text(env)
    for name, text in scripts.items():
        (versions / f"{name}.py").write_text(text)
    return folder


def settings(folder: Path, **fields: Any) -> dict[str, Any]:
    """What the configuration says of it: nothing comes first, and it is this Python's Alembic."""
    values: dict[str, Any] = {
        "scripts": folder / "migrations" / "versions",
        "directory": folder,
        "command": (sys.executable, "-m", "alembic"),
        "url_scheme": "postgresql+psycopg",
        "tried_on": (),
        "lock_timeout": "2s",
    }
    return values | fields


def migrating(directory: Path) -> Mapping[str, Any]:
    """Of the environment of a kit's case, whose store is in `directory`."""
    return {"migrations": settings(directory / "application")}


async def plant_behind(ground: Ground) -> Mapping[str, Any]:
    """At the first of three revisions."""
    write_application(ground.store.parent / "application", KIT)
    await ground.sql.execute("""
        create table notes (id serial primary key, text text);
        create table migrated (what text);
        create table alembic_version (version_num varchar(32) not null constraint alembic_version_pkc primary key);
        insert into alembic_version values ('one');
        insert into notes (text) select 'text ' || i from generate_series(1, 500) i
    """)
    return {"datname": ground.database}


async def plant_ahead(ground: Ground) -> Mapping[str, Any]:
    """At the last one, and it has to go back to the first."""
    said = await plant_behind(ground)
    await ground.sql.execute("""
        alter table notes add at date; create index notes_at on notes (at);
        update alembic_version set version_num = 'three'
    """)
    return {**said, "revision": "one"}


async def plant_by_hand(ground: Ground) -> Mapping[str, Any]:
    """What the second one makes is there, and not on record."""
    said = await plant_behind(ground)
    await ground.sql.execute("alter table notes add at date")
    return {**said, "revision": "two"}


async def count_moves(ground: Ground) -> int:
    return int(await ground.sql.fetchval("select count(*) from migrated"))


async def count_stamps(ground: Ground) -> int:
    return int(await ground.sql.fetchval("select count(*) from alembic_version where version_num = 'two'"))


async def count_left(ground: Ground) -> int:
    """Invalid indexes, sessions of Alembic, scratch servers of the run."""
    invalid = await ground.sql.fetchval("select count(*) from pg_index where not indisvalid")
    sessions = await ground.sql.fetchval(
        "select count(*) from pg_stat_activity where application_name like $1", f"custode/{ground.run_id}/%/alembic"
    )
    return int(invalid) + int(sessions) + len(_scratches(ground))


def _scratches(ground: Ground) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"custode-scratch-{ground.run_id}-*"))
