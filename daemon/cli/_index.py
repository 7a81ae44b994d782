"""`custode index`: the vector indexes of the fleet, and what to do about them; read without a daemon."""

from __future__ import annotations

from typing import Annotated

import typer

from daemon.cli._complete import environments
from daemon.cli._console import ConfigOption, JsonOption, out, print_json
from daemon.cli._index_probe import register as register_probe
from daemon.cli._index_read import Indexed, read_indexed
from daemon.cli._index_view import advices, listing, told
from fleet.vectors.advice import advise as advise_on

index = typer.Typer(help="Look at the vector indexes, and at what to do about them.", no_args_is_help=True)


@index.command("list")
def list_(
    environment: Annotated[
        str | None, typer.Argument(autocompletion=environments, help="Where [default: everywhere].")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List every vector index: what it is, its size and use, and what is wrong. Exit status 1: not all can be read."""
    found = read_indexed(config, environment)
    if json:
        print_json([told(one) for one in found])
    else:
        out.print(listing(found))
    raise typer.Exit(int(any(one.problems for one in found)))


@index.command("advise")
def advise(
    environment: Annotated[str, typer.Argument(autocompletion=environments, help="Where.", show_default=False)],
    name: Annotated[str | None, typer.Argument(metavar="[INDEX]", help="This index alone [default: all].")] = None,
    *,
    measure: Annotated[
        bool, typer.Option(help="Search through the index at several settings, for some seconds.")
    ] = True,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Say what to change, and what recall, size, build time and memory to expect. Exit status 1: something is wrong."""
    (found,) = read_indexed(config, environment, name, measure=measure)
    if name is not None and not found.problems and not any(database.known for database in found.databases):
        raise typer.BadParameter(f"{environment} has no vector index {name!r}; custode index list {environment}")
    if json:
        print_json(told(found, with_advice=True))
    else:
        out.print(advices(found))
    raise typer.Exit(int(bool(found.problems) or _something_is_wrong(found)))


def _something_is_wrong(found: Indexed) -> bool:
    known = (one for database in found.databases for one in database.known)
    return any(advice.level == "mend" for one in known for advice in advise_on(one))


def register(app: typer.Typer) -> None:
    register_probe(index)
    app.add_typer(index, name="index")
