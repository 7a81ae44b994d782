"""What each tier is promised: the strategy guide's tables as typed defaults.

Every cell can be set for a tier (`tiers:`) or for one environment (`environments: NAME: policy:`). A promise that is
not made is None, and is never exported or judged.
"""

from __future__ import annotations

from collections import Counter
from datetime import time, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator

from fleet.cron import Cron
from fleet.data.decisions import Decisions, TableDecision, read_table
from fleet.data.guide import COPIED, PUBLISHED
from fleet.data.kinds import Kind
from fleet.durations import Duration
from fleet.secrets import SecretText


class Tier(StrEnum):
    DEVELOPMENT = "development"
    QA = "qa"
    PREPROD = "preprod"
    PRODUCTION = "production"


class Risk(StrEnum):
    """How much harm an action can do, from reading only to replacing a database."""

    READ = "read"
    SAFE = "safe"
    GUARDED = "guarded"
    DANGEROUS = "dangerous"
    DESTRUCTIVE = "destructive"


class Consent(StrEnum):
    """What an action of some risk needs before it may run."""

    AUTO = "auto"
    ONE_APPROVAL = "one_approval"
    TWO_APPROVALS = "two_approvals"
    FORBIDDEN = "forbidden"


class Strict(BaseModel):
    """Base of all configuration: unknown keys are errors, values do not change after loading, errors quote no input."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True)


class Retention(Strict):
    """How long backups of each frequency are kept; None keeps no such series."""

    hourly: Duration | None = Field(None, description="how long one backup of each hour is kept; null: none is")
    daily: Duration | None = Field(None, description="the same, of each day")
    weekly: Duration | None = Field(None, description="the same, of each week")
    monthly: Duration | None = Field(None, description="the same, of each month")
    yearly: Duration | None = Field(None, description="the same, of each year")
    last: int | None = Field(None, ge=1, description="so many of the newest are kept, whatever their age")


class CopyPolicy(Strict):
    """What is promised of one further copy."""

    retention: Retention | None = Field(None, description="what this copy keeps; null: what the first one does")
    interval: Duration | None = Field(
        None, description="it holds a backup at most this much older than the newest elsewhere; null: not promised"
    )


class BackupPolicy(Strict):
    interval: Duration | None = Field(None, description="a backup at least this often; null: none is promised")
    engine: Literal["snapshot", "custom", "plain"] = Field(
        "snapshot",
        description="chunks that are stored once; or files of pg_dump, in its custom format or as SQL in gzip",
    )
    retention: Retention = Retention()
    copies: dict[str, CopyPolicy] = Field(
        {}, description="stores that hold further copies, by name; backups are taken into the first store"
    )
    files: tuple[str, ...] = Field(
        (), description="backups that others make here, as paths with * (/backups/qa/*.sql.gz); they are only counted"
    )
    restore_tests_on: str | None = Field(
        None, description="environment on whose server restores are tested; null: a scratch server of the daemon"
    )
    test_every_backup: bool = Field(False, description="each new backup is restored for proof")
    smoke_queries: tuple[str, ...] = Field(
        (), description="SQL that a restored database must answer with one true or non-zero value"
    )
    restore_test_interval: Duration | None = Field(
        None, description="a proven restore at least this often; null: none is promised"
    )
    recovery_time: Duration | None = Field(None, description="RTO: back in service within; null: not promised")
    recovery_point: Duration | None = Field(None, description="RPO: lose at most this much; null: not promised")

    def retention_in(self, store: str) -> Retention:
        """What a store keeps: the copy's own retention, else the first store's."""
        copy = self.copies.get(store)
        return self.retention if copy is None or copy.retention is None else copy.retention


class TlsPolicy(Strict):
    required: bool = Field(False, description="sessions over a network must be encrypted")
    certificate: Literal["none", "self_signed", "valid"] = Field("none", description="what the server must show")


class RowRetention(Strict):
    """Rows of `table` whose `column` is older than `keep` are past their time."""

    table: str = Field(pattern=r"^[^.]+(\.[^.]+)?$", description="name, or schema.name; public by default")
    column: str = Field("created_at", description="a timestamp or date: the age of the row")
    keep: Duration = Field(description="older rows are past their time")

    @property
    def qualified(self) -> tuple[str, str]:
        """Schema and name of the table."""
        schema, _, name = self.table.rpartition(".")
        return schema or "public", name


def _one_rule_a_table(rules: tuple[RowRetention, ...]) -> tuple[RowRetention, ...]:
    counted = Counter(rule.qualified for rule in rules)
    twice = [".".join(table) for table, count in counted.items() if count > 1]
    if twice:
        raise ValueError(f"has more than one rule for {', '.join(twice)}")
    return rules


TableData = Annotated[TableDecision, PlainValidator(read_table), PlainSerializer(TableDecision.written)]


def _table_name(name: str) -> str:
    if not all(name.split(".")) or name.count(".") > 1:
        raise ValueError(f"{name!r} is no table; write its name, or schema.name")
    return name


def _column_name(name: str) -> str:
    if not all(name.split(".")) or name.count(".") not in {1, 2}:
        raise ValueError(f"{name!r} is no column; write table.column, or schema.table.column")
    return name


def _secret_reference(key: SecretText) -> SecretText:
    if not key.references:
        raise ValueError("holds a key in plain text; write env:NAME, file:/path, awssm:name or vault:mount/path#key")
    return key


class DataPolicy(Strict):
    pii_allowed: bool = Field(False, description="may hold personal data as it is")
    refresh_interval: Duration | None = Field(None, description="sanitised data at most this old; null: not promised")
    columns: dict[Annotated[str, AfterValidator(_table_name)], TableData] = Field(
        {},
        description="what a refresh makes of each table of production: empty, or for each column keep, null, regenerate"
        " or mask:STRATEGY; what nobody decided on stops it",
    )
    mask_key: Annotated[SecretText, AfterValidator(_secret_reference)] | None = Field(
        None, description="reference to the key of the masks, 32 characters or more; null: nothing can be masked"
    )
    email_domain: str | None = Field(
        None,
        pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$",
        description="domain of masked e-mail addresses, your own; null: TIER.invalid, which nobody can own",
    )
    test_data: tuple[str, ...] = Field(
        (), description="SQL that is run in a database that was refreshed or reset, such as INSERTs of test users"
    )
    scan_interval: Duration | None = Field(
        None, description="personal data is looked for at least this often; null: not promised"
    )
    test_domains: tuple[str, ...] = Field((), description="domains of test accounts' e-mail addresses")
    published: dict[Annotated[str, AfterValidator(_column_name)], tuple[Kind, ...]] = Field(
        {},
        description="kinds of personal data that a column (table.column) may hold, because anybody may read them;"
        " those of production's users are found all the same",
    )
    row_retention: Annotated[tuple[RowRetention, ...], AfterValidator(_one_rule_a_table)] = Field(
        (), description="which rows are deleted when they are old; one rule a table"
    )

    @property
    def decisions(self) -> Decisions:
        """What is decided on the data of production before it may come here."""
        tables = {}
        for name, decided in self.columns.items():
            schema, _, table = name.rpartition(".")
            tables[schema or "public", table] = decided
        return Decisions(tables, self.email_domain)


class AccessPolicy(Strict):
    literal_password: bool = Field(False, description="may a password stand in the configuration itself")
    superusers: tuple[str, ...] | None = Field(None, description="the only superusers allowed; null: any")
    read_only_roles: tuple[str, ...] = Field((), description="people's roles that must not be able to write")


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{name!r} is no time zone; write it like Europe/Rome or UTC") from error
    return name


class MaintenanceWindow(Strict):
    """When guarded and dangerous work may run."""

    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = Field(
        ("sun",), min_length=1, description="the days on which it opens"
    )
    start: time = Field(time(2, 0), description="when it opens")
    length: Duration = Field(timedelta(hours=4), gt=timedelta(0), description="how long it stays open")
    timezone: Annotated[str, AfterValidator(_zone)] = Field("UTC", description="of `start`, such as Europe/Rome")


class VectorQueries(Strict):
    """Real searches to probe an index with, instead of vectors of its table."""

    index: str = Field(pattern=r"^[^.]+(\.[^.]+)?$", description="name, or schema.name; public by default")
    sql: str = Field(description="a SELECT that gives the vector of one search in each row, as its only column")

    @property
    def qualified(self) -> tuple[str, str]:
        """Schema and name of the index."""
        schema, _, name = self.index.rpartition(".")
        return schema or "public", name


class VectorPolicy(Strict):
    """The recall that searches are promised, as a ratio from 0 to 1, and how it may be probed."""

    ivfflat_recall: float | None = Field(
        None, ge=0, le=1, description="recall promised through an IVFFlat index; null: none is"
    )
    hnsw_recall: float | None = Field(None, ge=0, le=1, description="the same through an HNSW index")
    probe_share: float | None = Field(
        None,
        gt=0,
        description="what a probe reads into shared_buffers may fill at most this part of them; null: any part",
    )
    queries: tuple[VectorQueries, ...] = Field(
        (), description="real searches to probe with, by index; of others, vectors of the table are searched for"
    )

    def promised(self, method: str) -> float | None:
        """The recall promised to searches through an index of this access method."""
        return {"ivfflat": self.ivfflat_recall, "hnsw": self.hnsw_recall}.get(method)

    def queries_of(self, schema: str, name: str) -> str | None:
        """The SQL that gives the searches of an index."""
        return next((one.sql for one in self.queries if one.qualified == (schema, name)), None)


class ConsentPolicy(Strict):
    """What each risk class needs."""

    read: Consent = Field(Consent.AUTO, description="before a restore test into scratch, a recall probe")
    safe: Consent = Field(Consent.AUTO, description="before a backup, pruning, ANALYZE")
    guarded: Consent = Field(Consent.AUTO, description="before a reindex, deleting rows past their time")
    dangerous: Consent = Field(Consent.AUTO, description="before dropping an index, a refresh, a migration")
    destructive: Consent = Field(Consent.AUTO, description="before a reset, a switch to a restored database")
    actions: dict[str, Consent] = Field(
        {}, description="what an action needs at least, by its name, as in {migrate: two_approvals}"
    )

    def of(self, risk: Risk, action: str | None = None) -> Consent:
        """The stricter one of what the class needs and what the action does."""
        consent: Consent = getattr(self, risk.value)
        return max(consent, self.actions.get(action or "", consent), key=list(Consent).index)


def _crontab(expression: str) -> str:
    Cron(expression, "UTC")
    return expression


class Schedule(Strict):
    """An action that is asked for at certain times; the guard decides as it does for everybody."""

    action: str = Field(description="what is asked for")
    cron: Annotated[str, AfterValidator(_crontab)] = Field(
        description="minute, hour, day of month, month, day of week, as in crontab: `30 2 * * mon-fri`"
    )
    timezone: Annotated[str, AfterValidator(_zone)] = Field("UTC", description="of `cron`, such as Europe/Rome")
    parameters: dict[str, Any] = Field({}, description="the action's parameters")
    catch_up: Duration = Field(timedelta(hours=1), description="a time missed by less is asked for late, and once")
    enabled: bool = Field(True, description="whether it asks at all")

    def times(self) -> Cron:
        """When it asks."""
        return Cron(self.cron, self.timezone)


ScheduleName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


class Policy(Strict):
    backup: BackupPolicy = BackupPolicy()
    tls: TlsPolicy = TlsPolicy()
    data: DataPolicy = DataPolicy()
    access: AccessPolicy = AccessPolicy()
    vectors: VectorPolicy = VectorPolicy()
    consent: ConsentPolicy = ConsentPolicy()
    window: MaintenanceWindow | None = Field(
        None, description="when guarded and dangerous work may run; null: any time"
    )
    schedules: dict[ScheduleName, Schedule] = Field({}, description="actions to ask for at certain times, by any name")
    same_schema: bool = Field(True, description="must match the reference environment's schema")
    disk_free_ratio: float = Field(0.10, ge=0, lt=1, description="free space below this is trouble")


_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)
_OLD_ROWS = (
    RowRetention(table="messages", keep=90 * _DAY),
    RowRetention(table="conversations", keep=90 * _DAY),
)
_COPY = DataPolicy(columns=COPIED, published=PUBLISHED, scan_interval=_DAY)
_RECALL = VectorPolicy(ivfflat_recall=0.85, hnsw_recall=0.90)
_BUSY_RECALL = _RECALL.model_copy(update={"probe_share": 0.25})

TIER_DEFAULTS: dict[Tier, Policy] = {
    Tier.DEVELOPMENT: Policy(data=_COPY, access=AccessPolicy(literal_password=True)),
    Tier.QA: Policy(
        backup=BackupPolicy(interval=_DAY, retention=Retention(daily=7 * _DAY), restore_test_interval=30 * _DAY),
        data=_COPY.model_copy(update={"refresh_interval": 7 * _DAY}),
        vectors=_RECALL,
        consent=ConsentPolicy(destructive=Consent.ONE_APPROVAL),
    ),
    Tier.PREPROD: Policy(
        backup=BackupPolicy(interval=_DAY, retention=Retention(daily=30 * _DAY), restore_test_interval=7 * _DAY),
        tls=TlsPolicy(required=True, certificate="valid"),
        data=_COPY,
        vectors=_BUSY_RECALL,
        window=MaintenanceWindow(),
        consent=ConsentPolicy(dangerous=Consent.ONE_APPROVAL, destructive=Consent.TWO_APPROVALS),
    ),
    Tier.PRODUCTION: Policy(
        backup=BackupPolicy(
            interval=_HOUR,
            retention=Retention(hourly=_DAY, daily=30 * _DAY, weekly=90 * _DAY, monthly=365 * _DAY),
            restore_test_interval=7 * _DAY,
            recovery_time=timedelta(minutes=15),
            recovery_point=_HOUR,
        ),
        tls=TlsPolicy(required=True, certificate="valid"),
        data=DataPolicy(pii_allowed=True, row_retention=_OLD_ROWS),
        vectors=_BUSY_RECALL,
        window=MaintenanceWindow(),
        consent=ConsentPolicy(
            guarded=Consent.ONE_APPROVAL,
            dangerous=Consent.ONE_APPROVAL,
            destructive=Consent.TWO_APPROVALS,
            actions={
                "migrate": Consent.TWO_APPROVALS,
                "downgrade": Consent.TWO_APPROVALS,
                "refresh": Consent.FORBIDDEN,
                "reset": Consent.FORBIDDEN,
            },
        ),
    ),
}
