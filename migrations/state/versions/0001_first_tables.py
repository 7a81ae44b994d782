"""The first tables: the engine's, the ledger that nobody can change, and pgqueuer's own.

Revision ID: 0001
Revises:
Create Date: 2026-11-29
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment
from pgqueuer.domain.settings import DBSettings
from sqlalchemy.dialects.postgresql import JSONB

from migrations.state import QUEUE_NAMES, SCHEMA

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)

_REFUSE = """
create function custode.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only, % is refused', tg_table_name, lower(tg_op) using errcode = 'restrict_violation';
end $$
"""
_APPEND_ONLY = """
create trigger append_only before update or delete or truncate on custode.ledger
    for each statement execute function custode.refuse_change()
"""
_TABLES = (
    "action_run",
    "action_step",
    "approval",
    "ledger",
    "member",
    "lease",
    "alert",
    "shared_samples",
    "schedule",
    "switch",
    "outbox",
    "silence",
)


def upgrade() -> None:
    op.create_table(
        "action_run",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("key", sa.Text(collation="C"), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("object", sa.Text, nullable=False, server_default=""),
        sa.Column("databases", JSONB),
        sa.Column("store", sa.Text),
        sa.Column("parameters", JSONB, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("requested_at", MOMENT, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("alert", JSONB),
        sa.Column("state", sa.Text, nullable=False, server_default="queued"),
        sa.Column("ground", sa.Text),
        sa.Column("parked", sa.Text),
        sa.Column("not_before", MOMENT),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
        sa.Column("deaths", sa.Integer, nullable=False, server_default="0"),
        sa.Column("owner", sa.Text),
        sa.Column("plan", JSONB),
        sa.Column("digest", sa.Text),
        sa.Column("approvals_needed", sa.Integer, nullable=False, server_default="0"),
        sa.Column("expires_at", MOMENT),
        sa.Column("begun_at", MOMENT),
        sa.Column("data", JSONB, nullable=False, server_default=sa.text("'{}'")),
        sa.Column("step", sa.Text),
        sa.Column("progress", JSONB),
        sa.Column("asked", sa.Text),
        sa.Column("asked_by", sa.Text),
        sa.Column("result", sa.Text),
        sa.Column("outcome", sa.Text),
        sa.Column("before", JSONB),
        sa.Column("after", JSONB),
        sa.Column("ended_at", MOMENT),
        schema=SCHEMA,
    )
    op.create_index(
        "action_run_active",
        "action_run",
        ["environment", "action", "object"],
        schema=SCHEMA,
        unique=True,
        postgresql_where=sa.text("state <> 'ended'"),
    )
    op.create_index("action_run_begun", "action_run", ["begun_at"], schema=SCHEMA, postgresql_include=["environment"])
    op.create_index(
        "action_run_running",
        "action_run",
        ["environment"],
        schema=SCHEMA,
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index("action_run_latest", "action_run", [sa.text("ended_at desc")], schema=SCHEMA)
    op.create_index(
        "action_run_ended", "action_run", ["environment", "action", "object", sa.text("ended_at desc")], schema=SCHEMA
    )
    op.create_index("action_run_key", "action_run", ["key"], schema=SCHEMA, unique=True)
    op.create_index(
        "action_run_queued",
        "action_run",
        ["environment", sa.text("coalesce(ground, '')"), "requested_at"],
        schema=SCHEMA,
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "action_run_held",
        "action_run",
        ["ground", "requested_at"],
        schema=SCHEMA,
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index("action_run_requested", "action_run", [sa.text("requested_at desc")], schema=SCHEMA)
    op.create_table(
        "action_step",
        sa.Column("run_id", sa.Text, sa.ForeignKey("custode.action_run.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False, server_default="1"),
        sa.Column("begun_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT),
        sa.Column("figures", JSONB),
        sa.Column("error", sa.Text),
        schema=SCHEMA,
    )
    op.create_table(
        "approval",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("run_id", sa.Text, sa.ForeignKey("custode.action_run.id"), nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("person", sa.Text, nullable=False),
        sa.Column("approved", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("via", sa.Text, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.UniqueConstraint("run_id", "digest", "person"),
        schema=SCHEMA,
    )
    op.create_table(
        "ledger",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("uid", sa.Text, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("entry", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text),
        sa.Column("environment", sa.Text),
        sa.Column("action", sa.Text),
        sa.Column("person", sa.Text),
        sa.Column("facts", JSONB, nullable=False),
        schema=SCHEMA,
    )
    others = ("environment", "action", "entry")
    for column in others:
        included = ["at", *(other for other in others if other != column)]
        op.create_index(
            f"ledger_{column}", "ledger", [column, sa.text("id desc")], schema=SCHEMA, postgresql_include=included
        )
    op.create_index("ledger_at", "ledger", ["at", "id"], schema=SCHEMA)
    op.create_index(
        "ledger_person",
        "ledger",
        ["person", sa.text("id desc")],
        schema=SCHEMA,
        postgresql_include=["at", *others],
        postgresql_where=sa.text("person is not null"),
    )
    op.create_index("ledger_run", "ledger", ["run_id", "id"], schema=SCHEMA)
    op.create_index("ledger_uid", "ledger", ["uid"], schema=SCHEMA, unique=True)
    op.create_table(
        "member",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("wanted", JSONB, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        schema=SCHEMA,
    )
    op.create_table(
        "lease",
        sa.Column("environment", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text),
        sa.Column("until", MOMENT),
        sa.Column("alerts_at", MOMENT),
        sa.Column("alerts_by", sa.Text),
        schema=SCHEMA,
    )
    op.create_table(
        "alert",
        sa.Column("environment", sa.Text, primary_key=True),
        sa.Column("rule", sa.Text, primary_key=True),
        sa.Column("labels", sa.Text, primary_key=True),
        sa.Column("alert", JSONB, nullable=False),
        schema=SCHEMA,
    )
    op.create_table(
        "shared_samples",
        sa.Column("environment", sa.Text, primary_key=True),
        sa.Column("collector", sa.Text, primary_key=True),
        sa.Column("samples", JSONB, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        schema=SCHEMA,
    )
    op.create_table(
        "schedule",
        sa.Column("environment", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("last_slot", MOMENT, nullable=False),
        schema=SCHEMA,
    )
    op.create_table(
        "switch",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("on", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        schema=SCHEMA,
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("notifier", sa.Text, nullable=False),
        sa.Column("thread", sa.Text, nullable=False),
        sa.Column("message", JSONB, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("not_before", MOMENT),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("error", sa.Text),
        sa.Column("sent_at", MOMENT),
        sa.Column("dead_at", MOMENT),
        schema=SCHEMA,
    )
    op.create_index("outbox_key", "outbox", ["key", "notifier"], schema=SCHEMA, unique=True)
    op.create_index(
        "outbox_open",
        "outbox",
        ["notifier", "id"],
        schema=SCHEMA,
        postgresql_where=sa.text("sent_at is null and dead_at is null"),
    )
    op.create_table(
        "silence",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("matchers", JSONB, nullable=False),
        sa.Column("starts_at", MOMENT, nullable=False),
        sa.Column("ends_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("comment", sa.Text, nullable=False, server_default=""),
        sa.Column("created_at", MOMENT, nullable=False),
        schema=SCHEMA,
    )
    op.create_index("silence_ends", "silence", ["ends_at"], schema=SCHEMA)
    op.execute(_REFUSE)
    op.execute(_APPEND_ONLY)
    _execute(_queue().build_install_query(create_schema=False))


def downgrade() -> None:
    _execute(_queue().build_uninstall_query())
    for table in reversed(_TABLES):
        op.drop_table(table, schema=SCHEMA)
    op.execute("drop function custode.refuse_change()")


def _queue() -> QueryBuilderEnvironment:
    return QueryBuilderEnvironment(DBSettings.model_validate(QUEUE_NAMES))


def _execute(statements: str) -> None:
    # many at once, which a prepared statement cannot be
    op.get_bind().connection.run_async(lambda session: session.execute(statements))
