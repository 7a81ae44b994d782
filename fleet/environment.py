"""One guarded environment: how to reach it, what it is called, what it is promised."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from fleet.durations import Duration
from fleet.policy import Policy, Strict, Tier
from fleet.secrets import SecretText

NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,62}$"
TlsMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
TLS_MODES: tuple[TlsMode, ...] = get_args(TlsMode)  # from the least to the most strict
# of taste, or seen to by the gate: it sets lock_timeout, and judges by the size of the table
IGNORED_RULES = (
    "require-lock-timeout",
    "require-statement-timeout",
    "require-timeout-settings",
    "prefer-robust-stmts",
    "prefer-text-field",
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
    "prefer-identity",
    "prefer-timestamptz",
)
# what loses data, breaks the application that is running, or cannot work
REFUSED_RULES = (
    "adding-required-field",
    "ban-concurrent-index-creation-in-transaction",
    "ban-drop-column",
    "ban-drop-database",
    "ban-drop-table",
    "ban-truncate-cascade",
    "ban-uncommitted-transaction",
    "changing-column-type",
    "renaming-column",
    "renaming-table",
    "syntax-error",
)
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


class GitSettings(Strict):
    """Scripts as they are committed in a local clone, whatever is checked out there."""

    path: Path = Field(description="the clone, on this machine")
    ref: str = Field("HEAD", pattern=r"^[^-:\s][^:\s]*$", description="branch, tag or commit")
    folder: str = Field(
        "alembic/versions", pattern=r"^[^:]+$", description="the folder of the revisions, from the clone's root"
    )


class SchemaSettings(Strict):
    """The application's Alembic scripts: where they are, where the revision is kept, how they are run."""

    scripts: Path | None = Field(
        None, description="folder of the application's Alembic revisions; null: nobody tells how far behind"
    )
    git: GitSettings | None = Field(None, description="the same out of a git clone, instead of `scripts`")
    version_table: str = Field(
        "alembic_version", pattern=r"^[^.]+(\.[^.]+)?$", description="table of the revision: name, or schema.name"
    )
    ignore: tuple[Annotated[str, Field(pattern=r"^[a-z_*]+:.+$")], ...] = Field(
        (), description="objects whose difference is no drift, as kind:name with * (index:public.tmp_*)"
    )
    directory: Path | None = Field(
        None, description="where the application's alembic is started; null: migrations are not run from here"
    )
    command: tuple[str, ...] = Field(
        ("alembic",), min_length=1, description="how it is started, as a list of words; no shell reads it"
    )
    url_variable: str = Field(
        "DATABASE_URL",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="environment variable that env.py reads the URL of",
    )
    url_scheme: str | None = Field(
        None, pattern=r"^[a-z0-9+]+$", description="scheme of that URL, such as postgresql+psycopg; null: the dsn's"
    )
    session_options: Literal["environment", "url"] = Field(
        "environment",
        description="how lock_timeout reaches its sessions: PGOPTIONS (psycopg), or the URL (asyncpg.connect)",
    )
    variables: tuple[str, ...] = Field((), description="further variables of our environment that it is given")
    tried_on: tuple[str, ...] | None = Field(
        None, description="environments that have a revision first; null: all of lower tiers with migrations"
    )
    lock_timeout: Duration = Field(
        timedelta(seconds=5), gt=timedelta(0), description="a migration that waits longer for a lock is tried again"
    )
    lock_tries: int = Field(10, ge=1, le=100, description="how often in all")
    longest_block: Duration = Field(
        timedelta(seconds=10), description="one that is expected to hold others up longer is refused"
    )
    backup_age: Duration = Field(
        timedelta(minutes=30), description="a whole backup this fresh will do; else one is taken"
    )
    ignored_rules: tuple[str, ...] = Field(
        IGNORED_RULES, description="squawk's rules that are not asked: taste, and what is seen to here"
    )
    refused_rules: tuple[str, ...] = Field(
        REFUSED_RULES, description="squawk's rules that refuse a migration unless whoever asks accepts them"
    )

    @model_validator(mode="after")
    def _one_source(self) -> SchemaSettings:
        if self.scripts is not None and self.git is not None:
            raise ValueError("say `scripts` or `git`, not both")
        return self

    @property
    def has_scripts(self) -> bool:
        return self.scripts is not None or self.git is not None


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
