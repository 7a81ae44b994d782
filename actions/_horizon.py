"""What keeps VACUUM from removing rows: the oldest snapshot, slot or prepared transaction."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.connections import Connection

# Short transactions come and go: they are no reason. Slots hold tables back by xmin only, not by catalog_xmin.
_SQL = """
    select what, age::int8 from (
        select format('session %s of %s (%s), open for %s s', pid, usename, coalesce(nullif(application_name, ''), '-'),
                round(extract(epoch from clock_timestamp() - xact_start))),
            greatest(age(backend_xmin), age(backend_xid))
        from pg_catalog.pg_stat_activity
        where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()
            and clock_timestamp() - xact_start > interval '1 second'
        union all
        select format('standby %s', application_name), age(backend_xmin)
        from pg_catalog.pg_stat_activity where backend_type = 'walsender'
        union all
        select format('replication slot %s', slot_name), age(xmin) from pg_catalog.pg_replication_slots
        union all
        select format('prepared transaction %s', gid), age(transaction)
        from pg_catalog.pg_prepared_xacts where database = current_database()
    ) holders(what, age)
    where age > 0 order by age desc limit 1
"""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who may still see rows that were replaced `age` transactions ago."""

    what: str
    age: int

    def __str__(self) -> str:
        return f"{self.what}, may still see rows that died in the last {self.age} transactions"


async def oldest_holder(connection: Connection) -> Holder | None:
    """Who holds VACUUM of this database back the most, as far as the role may see."""
    record = await connection.fetchrow(_SQL)
    return Holder(*record) if record else None
