"""The application's own Alembic, started as the application starts it: its env.py, its models, its Python."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from fleet.backups.libpq import client_environment
from fleet.backups.scrub import scrub
from fleet.dsn import plain_dsn
from fleet.environment import Environment, SchemaSettings
from fleet.errors import ConfigError, ProcessError
from fleet.process import running
from fleet.secrets import Secrets

# Alembic's offline mode needs a dialect and no server; its scripts may still read the variable
_NOWHERE = "postgresql://nobody@localhost/offline"
_SAID = re.compile(r"^(?:[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|NotSupported)\b.*|FAILED: .*)$", re.MULTILINE)
_KEPT_BYTES = 64_000


@dataclass(frozen=True, slots=True)
class Access:
    """Environment variables that lead a child to a database; they hold the password."""

    variables: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Application:
    """`settings` says where and how; `directory` must be set there."""

    settings: SchemaSettings

    @property
    def directory(self) -> Path:
        """Raises ConfigError where none is configured, or it is not there."""
        folder = self.settings.directory
        if folder is None:
            raise ConfigError(
                "migrations are not run from here: migrations.directory is not set",
                hint="set it to the folder of the application's alembic.ini",
            )
        if not folder.is_dir():
            raise ConfigError(f"{folder} is no directory", hint="migrations.directory is the folder of alembic.ini")
        return folder

    async def access(
        self, environment: Environment, secrets: Secrets, database: str, *, name: str, settings: Mapping[str, str]
    ) -> Access:
        """What leads it to a database: sessions called `name`, with these server settings.

        Raises:
            SecretError: the DSN cannot be resolved.
        """
        dsn = await secrets.fill(environment.dsn)
        variables = await client_environment(environment, secrets, database, application_name=name)
        options = " ".join(f"-c {key}={value}" for key, value in settings.items())
        variables["PGOPTIONS"] = f"{variables.get('PGOPTIONS', '')} {options}".strip()
        query = urlsplit(dsn).query
        if self.settings.session_options == "url":
            dsn = plain_dsn(dsn)
            said = dict(parse_qsl(urlsplit(dsn).query))
            said |= {"application_name": name, "options": f"{said.get('options', '')} {options}".strip()}
            query = urlencode(said, quote_via=quote)
        url = _url(dsn, database, self.settings.url_scheme, query)
        password = urlsplit(dsn).password or ""
        known = (password, variables.get("PGPASSWORD", ""))
        return Access(variables | {self.settings.url_variable: url}, known)

    async def upgrade(self, revision: str, access: Access) -> None:
        """Raises ProcessError, with the error in the application's words."""
        await self._run(["upgrade", revision], access)

    async def downgrade(self, revision: str, access: Access) -> None:
        """Raises ProcessError."""
        await self._run(["downgrade", revision], access)

    async def stamp(self, revisions: Sequence[str], access: Access) -> None:
        """Make these the rows of the version table, whatever was there, and nothing else. Raises ProcessError."""
        await self._run(["stamp", "--purge", *(revisions or ["base"])], access)

    async def print_sql(self, command: str, revisions: str) -> str:
        """The SQL of `upgrade` or `downgrade` over a range FROM:TO, without a server. Raises ProcessError."""
        return await self._run([command, revisions, "--sql"], Access({self.settings.url_variable: _NOWHERE, **_kept()}))

    async def _run(self, words: Sequence[str], access: Access) -> str:
        own = {name: os.environ[name] for name in self.settings.variables if name in os.environ}
        async with self._child(words, {**own, **access.variables}) as process:
            printed, said = await process.communicate()
        if process.returncode != 0:
            raise ProcessError(scrub(_error(words[0], said, process.returncode), access.secrets))
        return printed.decode(errors="replace")

    def _child(
        self, words: Sequence[str], variables: Mapping[str, str]
    ) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
        program, *rest = self.settings.command
        if "/" in program:
            program = str(self.directory / program)
        return running([program, *rest, *words], env=variables, cwd=self.directory)


def _url(dsn: str, database: str, scheme: str | None, query: str) -> str:
    """What is not changed stays as it is written: env.py may be particular about percent signs."""
    parts = urlsplit(dsn)
    # urlunsplit would drop the // of a URL without a host
    url = f"{scheme or parts.scheme}://{parts.netloc}/{quote(database, safe='')}"
    return f"{url}?{query}" if query else url


def _kept() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ}


def _error(command: str, said: bytes, status: int | None) -> str:
    """The line that names the error: what follows it quotes the statement, and rows."""
    text = said[-_KEPT_BYTES:].decode(errors="replace")
    named = _SAID.findall(text)
    told = named[-1] if named else (text.strip().splitlines() or ["it said nothing"])[-1]
    return f"alembic {command} ended with status {status}: {told[:600]}"
