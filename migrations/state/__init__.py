"""Alembic environment of the daemon's own tables."""

SCHEMA = "custode"
# oldest first; told here as well, so that a start without work needs no Alembic (a test compares them with the files)
REVISIONS = ("0001", "0002", "0003", "0004")
HEAD = REVISIONS[-1]
# every name that pgqueuer would otherwise look for in variables of the environment as common as CHANNEL or FUNCTION
QUEUE_NAMES = {
    "prefix": "",
    "db_schema": SCHEMA,
    "channel": "custode_queue",
    "function": "fn_pgqueuer_changed",
    "trigger": "tg_pgqueuer_changed",
    "queue_status_type": "pgqueuer_status",
    "queue_table": "pgqueuer",
    "queue_table_log": "pgqueuer_log",
    "statistics_table": "pgqueuer_statistics",
    "schedules_table": "pgqueuer_schedules",
    "durability": "durable",
}
