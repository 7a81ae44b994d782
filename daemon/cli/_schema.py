"""`custode schema`: which schema the environments have, and which they should have; read without a daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from daemon.cli._complete import environments
from daemon.cli._console import ConfigOption, JsonOption, out, print_json
from daemon.cli._runs import say
from daemon.cli._schema_explain import as_json, explained, told
from daemon.cli._schema_read import Stood, settings_with, stand
from daemon.cli._schema_view import (
    comparison,
    comparison_json,
    fingerprint_json,
    plain,
    standing_json,
    standings,
    well,
)
from daemon.config import Settings
from daemon.schemas import Compared, compared, read_schemas
from fleet.errors import ConfigError

schema = typer.Typer(help="Look at the schemas: revisions, drift, and what to do about it.", no_args_is_help=True)
EnvironmentArgument = Annotated[str, typer.Argument(autocompletion=environments, help="Where.", show_default=False)]
DatabaseOption = Annotated[str | None, typer.Option("--database", "-d", help="The database [default: all].")]


@schema.command("status")
def status(
    environment: Annotated[
        str | None, typer.Argument(autocompletion=environments, help="Where [default: everywhere].")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show revisions and schemas side by side. Exit status 1: one is behind, unknown, or not as the reference."""
    settings = settings_with(config, environment)
    found = asyncio.run(_stand(settings, environment))
    if json:
        print_json([standing_json(one) for one in found])
    else:
        say(*standings(found))
    raise typer.Exit(int(not all(well(one) for one in found)))


@schema.command("diff")
def diff(
    environment: EnvironmentArgument,
    *,
    against: Annotated[
        str | None,
        typer.Option(autocompletion=environments, help="The environment to compare with [default: the reference]."),
    ] = None,
    scripts: Annotated[
        bool, typer.Option("--scripts", help="Compare with what the scripts make up to its revisions instead.")
    ] = False,
    sql: Annotated[bool, typer.Option("--sql", help="Print SQL that would remove the differences.")] = False,
    database: DatabaseOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Say what is not as it should be, object by object. Exit status 1: something is not. Changes nothing."""
    found = asyncio.run(_diff(config, environment, against, database, scripts=scripts))
    if json:
        print_json([comparison_json(one) for one in found])
    else:
        say(*(line for one in found for line in comparison(one, sql=sql)))
    raise typer.Exit(int(not all(one.equal for one in found)))


@schema.command("explain")
def explain(
    environment: EnvironmentArgument,
    *,
    draft: Annotated[bool, typer.Option("--draft", help="Print a repair as a revision of Alembic.")] = False,
    database: Annotated[
        str | None, typer.Option("--database", "-d", help="The database [default: those with a version table].")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Say which revisions are there in fact, and what to do where the record says otherwise; it then exits with 1.

    The scripts are run on a server of our own: that takes some seconds. Changes nothing.
    """
    settings = settings_with(config, environment)
    found = asyncio.run(explained(settings.environments[environment], database))
    if json:
        print_json([as_json(one) for one in found])
    else:
        say(*(line for one in found for line in told(one, draft=draft)))
    raise typer.Exit(int(not all(one.sound for one in found)))


@schema.command("fingerprint")
def fingerprint(
    environment: EnvironmentArgument,
    database: DatabaseOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Print SHA-256 of each schema: equal schemas have equal ones."""
    settings = settings_with(config, environment)
    found = asyncio.run(read_schemas(settings.environments[environment], database))
    if json:
        print_json([fingerprint_json(one) for one in found])
    else:
        for one in found:
            out.print(Text(f"{one.catalogue.fingerprint}  {plain(one.database)}"), soft_wrap=True)


async def _stand(settings: Settings, environment: str | None) -> Sequence[Stood]:
    chosen = [one for name, one in settings.environments.items() if environment in {None, name}]
    return await asyncio.gather(*(stand(settings, one) for one in chosen))


async def _diff(
    config: Path | None, environment: str, against: str | None, database: str | None, *, scripts: bool
) -> Sequence[Compared]:
    settings = settings_with(config, environment, against)
    other = None if scripts else against or settings.schema_reference
    if scripts and against is not None:
        raise typer.BadParameter("say --scripts or --against, not both")
    if not scripts and other in {None, environment}:
        raise typer.BadParameter(f"{environment} is compared with whom? Say --against ENVIRONMENT, or --scripts")
    found = await compared(settings, settings.environments[environment], other, database)
    if not found:
        raise ConfigError(f"no database of {environment} is called as one of {other}")
    return found


def register(app: typer.Typer) -> None:
    app.add_typer(schema, name="schema")
