"""`custode token`: a new bearer token, or the bcrypt hash of a password for web.yml."""

from __future__ import annotations

import getpass
import hashlib
import secrets
import sys
from typing import Annotated

import bcrypt
import typer

from daemon.cli._console import JsonOption, out, print_json

_LONGEST = 72  # bytes that bcrypt reads
_ROUNDS = 12


def token(
    name: Annotated[str, typer.Argument(help="Who will have it: a name for the configuration.")] = "NAME",
    password: Annotated[
        bool, typer.Option("--password", help="Instead, read a password and print its line for web.yml.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Print a new token with what to write into custode.yml. It is shown this once, and kept nowhere.

    With --password the password is asked for, or read from the first line of the standard input.
    """
    if password:
        _print_user(name, json=json)
        return
    made = secrets.token_urlsafe(32)
    digest = hashlib.sha256(made.encode()).hexdigest()
    if json:
        print_json({"name": name, "token": made, "sha256": digest})
        return
    out.print(f"token:  {made}", highlight=False, soft_wrap=True)
    out.print(f"sha256: {digest}", highlight=False, soft_wrap=True)
    out.print("in custode.yml:", style="dim")
    lines = ("access:", "  tokens:", f"    {name}:", f"      sha256: {digest}", "      role: viewer")
    for line in (*lines, "      # expires: 2027-01-31"):
        out.print(line, highlight=False, markup=False, soft_wrap=True)


def _print_user(name: str, *, json: bool) -> None:
    if sys.stdin.isatty():
        written = getpass.getpass("Password: ")
        if written != getpass.getpass("Once more: "):
            raise typer.BadParameter("the two are not the same", param_hint="--password")
    else:
        written = sys.stdin.readline().rstrip("\r\n")
    encoded = written.encode()
    if not encoded or len(encoded) > _LONGEST:
        raise typer.BadParameter(f"it must have 1 to {_LONGEST} bytes", param_hint="--password")
    hashed = bcrypt.hashpw(encoded, bcrypt.gensalt(_ROUNDS)).decode()
    if json:
        print_json({"name": name, "bcrypt": hashed})
        return
    out.print("in web.yml:", style="dim")
    for line in ("basic_auth_users:", f"  {name}: {hashed}"):
        out.print(line, highlight=False, markup=False, soft_wrap=True)


def register(app: typer.Typer) -> None:
    app.command("token")(token)
