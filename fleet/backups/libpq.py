"""What PostgreSQL's client programs are told: by their environment, never on a command line that `ps` shows."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from fleet.connections import tls_mode
from fleet.dsn import plain_dsn, read_dsn
from fleet.environment import Environment, TlsMode
from fleet.secrets import Secrets

# libpq's connection parameters that may stand in a URL, and the variables that mean the same
# (PostgreSQL documentation, "Environment Variables" of libpq)
_VARIABLES: Mapping[str, str] = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "passfile": "PGPASSFILE",
    "options": "PGOPTIONS",
    "service": "PGSERVICE",
    "channel_binding": "PGCHANNELBINDING",
    "gssencmode": "PGGSSENCMODE",
    "krbsrvname": "PGKRBSRVNAME",
    "require_auth": "PGREQUIREAUTH",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}
_FURTHER: Mapping[str, str] = {
    "PGAPPNAME": "application_name",
    "PGCONNECT_TIMEOUT": "connect_timeout",
    "PGSSLMODE": "sslmode",
}
CLIENT_NAME = "custode client"  # tells these sessions from the daemon's own in pg_stat_activity
_KEPT = ("PATH", "HOME", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "PGPASSFILE", "PGSERVICEFILE", "PGSYSCONFDIR")


async def client_environment(
    environment: Environment, secrets: Secrets, database: str, *, application_name: str = CLIENT_NAME
) -> dict[str, str]:
    """All environment variables for a child that connects to `database`; holds the password.

    Raises:
        SecretError: the DSN cannot be resolved.
    """
    dsn = plain_dsn(await secrets.fill(environment.dsn))
    settings = read_dsn(dsn)
    child = {name: os.environ[name] for name in _KEPT if name in os.environ}
    child |= {_VARIABLES[name]: value for name, value in settings.items() if name in _VARIABLES}
    child |= {"PGDATABASE": database, "PGAPPNAME": application_name, "PGCONNECT_TIMEOUT": "10", "LC_MESSAGES": "C"}
    return child | _tls(environment, tls_mode(environment, dsn), child)


def connection_parameters(variables: Mapping[str, str]) -> dict[str, str]:
    """The same for a session within this process: libpq's keywords instead of its environment variables."""
    keywords = {**{variable: keyword for keyword, variable in _VARIABLES.items()}, **_FURTHER}
    return {keywords[name]: value for name, value in variables.items() if name in keywords}


def _tls(environment: Environment, mode: TlsMode, child: Mapping[str, str]) -> dict[str, str]:
    tls = environment.tls
    found: dict[str, str] = {"PGSSLMODE": mode}
    if tls.cert_file is not None:
        found["PGSSLCERT"] = str(tls.cert_file)
    if tls.key_file is not None:
        found["PGSSLKEY"] = str(tls.key_file)
    if tls.ca_file is not None:
        found["PGSSLROOTCERT"] = str(tls.ca_file)
    elif mode.startswith("verify") and "PGSSLROOTCERT" not in child:
        found["PGSSLROOTCERT"] = _system_certificates()
    return found


def _system_certificates() -> str:
    """The authorities that Python's own TLS trusts; libpq alone would look in the home directory only."""
    bundle = ssl.get_default_verify_paths().cafile
    return bundle if bundle and Path(bundle).exists() else "system"  # a word that libpq knows since 16
