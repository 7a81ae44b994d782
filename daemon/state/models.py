"""The tables of the daemon's own state, in the schema `custode`. Moments are unix seconds here, timestamptz there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA = "custode"
_NOT_ENDED = text("state <> 'ended'")
_UNSENT = text("sent_at is null and dead_at is null")


class Moment(TypeDecorator[float]):
    """Unix seconds in Python, timestamptz in the database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: float | None, _dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromtimestamp(value, UTC)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> float | None:
        return None if value is None else value.timestamp()


class Base(DeclarativeBase):
    metadata = MetaData(schema=SCHEMA)
    type_annotation_map = {float: Moment, str: Text, dict[str, Any]: JSONB, list[Any]: JSONB}  # noqa: RUF012 - SQLAlchemy's


class ActionRun(Base):
    """A request on its way through the engine.

    `state`: queued (wants a turn; `ground`, `parked` say what it waits for), waiting (for approval), running, paused,
    ended.
    `attempt` is the fence: each process that picks the run up increments it, and writes only while it is its own.
    """

    __tablename__ = "action_run"

    id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(Text(collation="C"))  # runs under one key are a range of its index
    source: Mapped[str]
    environment: Mapped[str]
    action: Mapped[str]
    object: Mapped[str] = mapped_column(server_default="")
    databases: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))
    store: Mapped[str | None]
    parameters: Mapped[dict[str, Any]]
    requested_by: Mapped[str]
    sender: Mapped[str | None]
    requested_at: Mapped[float]
    reason: Mapped[str]
    alert: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    state: Mapped[str] = mapped_column(server_default="queued")
    ground: Mapped[str | None]  # the word for why it waits, `parked` are the words for people
    parked: Mapped[str | None]
    not_before: Mapped[float | None]
    attempt: Mapped[int] = mapped_column(server_default="0")
    deaths: Mapped[int] = mapped_column(server_default="0")  # processes that ended in the middle of it
    owner: Mapped[str | None]
    plan: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    digest: Mapped[str | None]
    approvals_needed: Mapped[int] = mapped_column(server_default="0")
    expires_at: Mapped[float | None]
    begun_at: Mapped[float | None]
    data: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    step: Mapped[str | None]
    progress: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    asked: Mapped[str | None]  # by people: cancel, pause
    asked_by: Mapped[str | None]
    result: Mapped[str | None]
    outcome: Mapped[str | None]
    before: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    after: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    ended_at: Mapped[float | None]

    __table_args__ = (
        Index("action_run_key", "key", unique=True),
        # one active run of an action on an object
        Index("action_run_active", "environment", "action", "object", unique=True, postgresql_where=_NOT_ENDED),
        Index(
            "action_run_queued",
            "environment",
            text("coalesce(ground, '')"),
            "requested_at",
            postgresql_where=text("state = 'queued'"),
        ),
        Index("action_run_held", "ground", "requested_at", postgresql_where=text("state = 'queued'")),
        Index("action_run_begun", "begun_at", postgresql_include=["environment"]),
        Index("action_run_running", "environment", postgresql_where=text("state = 'running'")),
        Index("action_run_latest", text("ended_at desc")),
        Index("action_run_ended", "environment", "action", "object", text("ended_at desc")),
        Index("action_run_requested", text("requested_at desc")),
    )


class ActionStep(Base):
    __tablename__ = "action_step"

    run_id: Mapped[str] = mapped_column(ForeignKey(ActionRun.id), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    attempt: Mapped[int]
    tries: Mapped[int] = mapped_column(server_default="1")
    begun_at: Mapped[float]
    finished_at: Mapped[float | None]
    figures: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    error: Mapped[str | None]


class Approval(Base):
    """One answer of one person to one plan. The first one counts."""

    __tablename__ = "approval"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey(ActionRun.id))
    digest: Mapped[str]
    person: Mapped[str]
    approved: Mapped[bool]
    reason: Mapped[str] = mapped_column(server_default="")
    via: Mapped[str]
    at: Mapped[float]

    __table_args__ = (UniqueConstraint("run_id", "digest", "person"),)


class LedgerEntry(Base):
    """What was asked, allowed, refused, done. Never changed, never deleted: a trigger refuses it."""

    __tablename__ = "ledger"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    uid: Mapped[str]  # an entry that is written twice, after a broken connection, counts once
    at: Mapped[float]
    entry: Mapped[str]
    run_id: Mapped[str | None]
    environment: Mapped[str | None]
    action: Mapped[str | None]
    person: Mapped[str | None]
    facts: Mapped[dict[str, Any]]

    __table_args__ = (
        Index("ledger_uid", "uid", unique=True),
        Index("ledger_run", "run_id", "id"),
        # each holds what others filter by as well, so that which rows it is can be told without a look at them
        Index("ledger_environment", "environment", text("id desc"), postgresql_include=["at", "action", "entry"]),
        Index("ledger_action", "action", text("id desc"), postgresql_include=["at", "environment", "entry"]),
        Index(
            "ledger_person",
            "person",
            text("id desc"),
            postgresql_include=["at", "environment", "action", "entry"],
            postgresql_where=text("person is not null"),
        ),
        Index("ledger_entry", "entry", text("id desc"), postgresql_include=["at", "environment", "action"]),
        Index("ledger_at", "at", "id"),
    )


class Member(Base):
    """A daemon that lives; `seen_at` is the server's time.

    `wanted` are the environments of its configuration: what a fair share is, all compute from all of these.
    """

    __tablename__ = "member"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    address: Mapped[str]
    wanted: Mapped[list[Any]]
    started_at: Mapped[float]
    seen_at: Mapped[float]


class Lease(Base):
    """Which daemon looks after an environment, until when by the server's time.

    `alerts_at` and `alerts_by`: which instance brought the alerts of the environment here, up to which moment.
    """

    __tablename__ = "lease"

    environment: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str | None]
    until: Mapped[float | None]
    alerts_at: Mapped[float | None]
    alerts_by: Mapped[str | None]


class AlertState(Base):
    """What lasts of an alert, for whoever looks after its environment next."""

    __tablename__ = "alert"

    environment: Mapped[str] = mapped_column(primary_key=True)
    rule: Mapped[str] = mapped_column(primary_key=True)
    labels: Mapped[str] = mapped_column(primary_key=True)  # their SHA-256: an index has no room for all
    alert: Mapped[dict[str, Any]]


class SharedSamples(Base):
    """What a collector said of an environment, for rules of daemons that do not look after it; `at` is server time."""

    __tablename__ = "shared_samples"

    environment: Mapped[str] = mapped_column(primary_key=True)
    collector: Mapped[str] = mapped_column(primary_key=True)
    samples: Mapped[list[Any]]
    at: Mapped[float]


class ScheduleSlot(Base):
    """The last moment for which a schedule asked."""

    __tablename__ = "schedule"

    environment: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    last_slot: Mapped[float]


class Switch(Base):
    """Fleet-wide switches, such as `stop-actions`."""

    __tablename__ = "switch"

    name: Mapped[str] = mapped_column(primary_key=True)
    on: Mapped[bool]
    reason: Mapped[str] = mapped_column(server_default="")
    by: Mapped[str]
    at: Mapped[float]


class OutboxMessage(Base):
    """A message on its way to one notifier, in order of `id` within a thread.

    `claim` is whose turn it is to send it, until `not_before`; of those that share a `slot`, only the last is sent.
    """

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    key: Mapped[str]  # one message to one notifier, however often it is written
    notifier: Mapped[str]
    thread: Mapped[str]
    message: Mapped[dict[str, Any]]
    created_at: Mapped[float]
    not_before: Mapped[float | None]
    attempts: Mapped[int] = mapped_column(server_default="0")
    error: Mapped[str | None]
    sent_at: Mapped[float | None]
    dead_at: Mapped[float | None]
    slot: Mapped[str | None]
    claim: Mapped[str | None]
    reference: Mapped[str | None]  # where it went: whatever finds it again there

    __table_args__ = (
        Index("outbox_key", "key", "notifier", unique=True),
        Index("outbox_open", "notifier", "id", postgresql_where=_UNSENT),
        Index("outbox_thread", "notifier", "thread", "id", postgresql_where=_UNSENT),
        Index("outbox_created", "created_at"),
    )


class Silence(Base):
    """`remote` is the id that Alertmanager knows it by, `thread` the thread in which somebody asked for it."""

    __tablename__ = "silence"

    id: Mapped[str] = mapped_column(primary_key=True)
    matchers: Mapped[list[Any]]  # name, value, isRegex, isEqual: as Alertmanager's API has them
    starts_at: Mapped[float]
    ends_at: Mapped[float]
    created_by: Mapped[str]
    comment: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[float]
    remote: Mapped[str | None]
    thread: Mapped[str | None]
    expired_at: Mapped[float | None]
    expired_by: Mapped[str | None]

    __table_args__ = (Index("silence_ends", "ends_at"),)


class SlackThread(Base):
    """One occurrence of trouble as Slack shows it: what is known (`facts`, of `revision`) and what is `shown` of it.

    It is told in `channel`, as that is configured; `ts` finds its first message, in the channel with the id `place`;
    `posting_at`: somebody began to post that, and it may be there already. Something is to be done at `due_at`; whoever
    does it holds the thread until `claimed_until`. One that is `folded` is told in that other thread.
    """

    __tablename__ = "slack_thread"

    id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str]
    channel: Mapped[str]
    place: Mapped[str | None]
    ts: Mapped[str | None]
    facts: Mapped[dict[str, Any]]
    stage: Mapped[str]
    revision: Mapped[int] = mapped_column(BigInteger, server_default="1")
    shown: Mapped[int] = mapped_column(BigInteger, server_default="0")
    folded: Mapped[str | None]
    opened_at: Mapped[float]
    shown_at: Mapped[float | None]
    due_at: Mapped[float | None]
    claimed_until: Mapped[float | None]
    posting_at: Mapped[float | None]

    __table_args__ = (
        Index("slack_thread_key", "key", text("opened_at desc")),
        Index("slack_thread_channel", "channel", "opened_at"),
        Index("slack_thread_folded", "folded", postgresql_where=text("folded is not null")),
        Index("slack_thread_due", "due_at", postgresql_where=text("due_at is not null")),
    )
