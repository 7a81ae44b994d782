"""One guarded environment: how to reach it, what it is called, what it is promised."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field

from fleet.policy import Policy, Strict, Tier
from fleet.secrets import SecretText

NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,62}$"
TlsMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
TLS_MODES: tuple[TlsMode, ...] = get_args(TlsMode)  # from the least to the most strict
_TAKEN_LABELS = frozenset({"environment", "tier", "collector", "copy", "datname", "schemaname", "relname", "le"})


def _free_labels(labels: dict[str, str]) -> dict[str, str]:
    for name in labels:
        if name in _TAKEN_LABELS or name.startswith("__") or not name.isascii() or not name.isidentifier():
            raise ValueError(f"{name!r} cannot be a label: taken by Custode, or not of the form [a-zA-Z_][a-zA-Z0-9_]*")
    return labels


class TlsSettings(Strict):
    """How to speak TLS to the server; `mode` is libpq's sslmode, by default `require` where the tier demands TLS."""

    mode: TlsMode | None = Field(None, description="null: what the URL asks for, at least `require` if the policy does")
    ca_file: Path | None = Field(
        None, description="authorities that the server's certificate is verified by; null: the system's"
    )
    cert_file: Path | None = Field(None, description="our own certificate; null: we show none")
    key_file: Path | None = Field(None, description="its key; null: it stands in cert_file")


class SchemaSettings(Strict):
    """Where the application's Alembic scripts are, and where the revision is kept."""

    scripts: Path | None = Field(
        None, description="folder of the application's Alembic revisions; null: nobody tells how far behind"
    )
    version_table: str = Field(
        "alembic_version", pattern=r"^[^.]+(\.[^.]+)?$", description="table of the revision: name, or schema.name"
    )


class Environment(Strict):
    """A validated environment. `name` is the value of the label `environment` on every series."""

    name: str = Field(pattern=NAME_PATTERN)
    tier: Tier = Field(description="whose policy it has")
    dsn: SecretText = Field(description="a reference (awssm:pratikoai/prod/url), or a URL that may hold ${env:NAME}")
    tls: TlsSettings = TlsSettings()
    labels: Annotated[dict[str, str], AfterValidator(_free_labels)] = Field(
        default={}, description="further labels of all its series"
    )
    databases: tuple[str, ...] | None = Field(None, description="null: every database that accepts connections")
    connections: int = Field(4, ge=1, le=100, description="most connections to this environment at once")
    migrations: SchemaSettings = Field(default=SchemaSettings(), description="the application's Alembic scripts")
    disks: dict[str, dict[str, Any]] = Field(
        default={}, repr=False, description="disk sources by name, with their options"
    )
    policy: Policy = Policy()
    schema_reference: bool = Field(False, description="the others must match its schema; told by the top-level key")
