"""Who may enter and how: TLS offered and used, the certificate's end, superusers, writers, passwords, pg_hba lines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg

from collectors import Collector, Family, Rows, Session, Target, gauge, info
from collectors._certificate import certificate_expiry
from fleet.connections import Record
from fleet.durations import Duration

SERVER = Family(
    (),
    (
        gauge("tls_enabled", "1 where the server offers TLS, else 0."),
        gauge("superusers", "How many roles are superusers."),
    ),
)
PLAINTEXT = Family(
    (),
    (gauge("plaintext_sessions", "Sessions over a network, not loopback, that are not encrypted."),),
)
TLS_SESSIONS = Family(
    ("version", "cipher"),
    (gauge("tls_sessions", "Sessions with this TLS version and cipher."),),
)
CERTIFICATE = Family(
    (),
    (gauge("tls_certificate_expiry_timestamp_seconds", "When the server's certificate ends, unix seconds."),),
)
UNEXPECTED_SUPERUSERS = Family(
    ("rolname",),
    (info("unexpected_superuser_info", "A superuser that the configuration does not allow."),),
)
WRITERS = Family(
    ("rolname",),
    (gauge("role_can_write", "1 where a role configured as read-only may change some table, else 0."),),
)
PASSWORDS = Family(
    ("rolname",),
    (gauge("role_password_expiry_timestamp_seconds", "When the role's password ends, unix seconds."),),
)
HBA = Family(
    ("method",),
    (gauge("hba_lines", "Lines of pg_hba.conf with this authentication method."),),
)
_CERTIFICATE_SECONDS = 5.0

_SERVER = """
    select (pg_catalog.current_setting('ssl') = 'on')::int as tls,
           (select count(*) from pg_catalog.pg_roles where rolsuper) as superusers,
           pg_has_role(current_user, 'pg_read_all_stats', 'usage') as sees_sessions,
           has_table_privilege('pg_catalog.pg_hba_file_rules', 'select')
           and has_function_privilege('pg_catalog.pg_hba_file_rules()', 'execute') as sees_hba
"""
_TLS_SESSIONS = "select version, cipher, count(*) from pg_catalog.pg_stat_ssl where ssl group by 1, 2"
_PLAINTEXT = """
    select count(*)
    from pg_catalog.pg_stat_activity a
    join pg_catalog.pg_stat_ssl s using (pid)
    left join pg_catalog.pg_stat_gssapi g using (pid)
    where not s.ssl and g.encrypted is not true
      and not a.client_addr <<= any (array['127.0.0.0/8', '::1', '::ffff:127.0.0.0/104']::inet[])
"""
_UNEXPECTED = "select rolname, 1 from pg_catalog.pg_roles where rolsuper and rolname <> all ($1::text[]) order by 1"
_PASSWORDS = """
    select rolname, extract(epoch from rolvaliduntil)::float8
    from pg_catalog.pg_roles where rolcanlogin and isfinite(rolvaliduntil) order by 1
"""
_HBA = """
    select auth_method, count(*) from pg_catalog.pg_hba_file_rules where auth_method is not null group by 1 order by 1
"""
# a role that another one may become (SET ROLE) lends its privileges too
_WRITERS = """
    select p.rolname,
           p.rolsuper or exists (
               select from pg_catalog.pg_roles r
               where pg_has_role(p.oid, r.oid, 'member') and (
                   r.rolsuper or r.rolname = 'pg_write_all_data' or exists (
                       select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                       where c.relkind in ('r', 'p', 'f') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
                         and (has_table_privilege(r.oid, c.oid, 'delete, truncate')
                              or has_any_column_privilege(r.oid, c.oid, 'insert, update'))
                   )
               )
           ) as writes
    from pg_catalog.pg_roles p
    where p.rolname = any ($1::text[])
"""


class SecurityCollector(Collector):
    name = "security"
    summary = "TLS, certificate, superusers, roles that may write, password expiry, pg_hba lines"
    families = (SERVER, PLAINTEXT, TLS_SESSIONS, CERTIFICATE, UNEXPECTED_SUPERUSERS, WRITERS, PASSWORDS, HBA)

    class Options(Collector.Options):
        interval: Duration = timedelta(seconds=60)
        timeout: Duration = timedelta(seconds=20)

    async def collect(self, target: Target) -> list[Rows]:
        access = target.environment.policy.access
        async with target.session() as session:
            server = (await session.fetch(_SERVER))[0]
            rows = [
                SERVER.rows([(server["tls"], server["superusers"])]),
                PASSWORDS.rows(await session.fetch(_PASSWORDS)),
                *await _sessions(target, session, server),
                HBA.rows(await _hba(target, session, server)),
            ]
            if access.superusers is not None:
                unexpected = await session.fetch(_UNEXPECTED, list(access.superusers))
                rows.append(UNEXPECTED_SUPERUSERS.rows(unexpected))
        rows.append(WRITERS.rows(await _writers(target, access.read_only_roles)))
        if server["tls"]:
            rows.append(CERTIFICATE.rows(await _certificate(target)))
        return rows


async def _sessions(target: Target, session: Session, server: Record) -> list[Rows]:
    if not server["sees_sessions"]:
        target.gap("pg_stat_ssl", "other roles' sessions are hidden: grant pg_monitor")
        return []
    return [
        TLS_SESSIONS.rows(await session.fetch(_TLS_SESSIONS)),
        PLAINTEXT.rows(await session.fetch(_PLAINTEXT)),
    ]


async def _hba(target: Target, session: Session, server: Record) -> list[Any]:
    if not server["sees_hba"]:
        target.gap("pg_hba_file_rules", "grant select on the view, and execute on the function of that name")
        return []
    try:
        return await session.fetch(_HBA)
    except asyncpg.PostgresError as error:
        target.failed("pg_hba_file_rules", error)
        return []


async def _writers(target: Target, roles: Sequence[str]) -> list[Sequence[Any]]:
    """1 for a role that may write in some database; 0 only where every database could be read."""
    if not roles:
        return []
    unread_before = len(target.failures) + len(target.gaps)
    records = await target.fetch_each(_WRITERS, list(roles))
    complete = len(target.failures) + len(target.gaps) == unread_before
    writes: dict[str, bool] = {}
    for name, here in records:
        writes[name] = writes.get(name, False) or here
    if records:
        for name in set(roles) - writes.keys():
            target.gap(f"role {name}", "configured as read-only, and does not exist")
    return [(name, 1 if some else 0 if complete else None) for name, some in writes.items()]


async def _certificate(target: Target) -> list[Sequence[Any]]:
    """The end of the certificate that clients of the DSN are shown; over a Unix socket there is none."""
    address = await target.connections.address()
    if address is None:
        return []
    try:
        async with asyncio.timeout(_CERTIFICATE_SECONDS):
            return [(await certificate_expiry(*address),)]
    except OSError as error:
        target.failed("certificate", error)
        return []
