"""Who may enter and how: on servers with and without TLS, seen by a role that has only pg_monitor."""

import asyncio
import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from collectors import Target
from collectors._certificate import certificate_expiry
from collectors.security import SecurityCollector
from fleet.environment import Environment
from fleet.policy import AccessPolicy, Policy
from fleet.secrets import SecretText
from tests.certificates import EXPIRY, make_certificate
from tests.integration.debian_server import BIN, DebianServer, debian_server
from tests.integration.sites import WATCHER, Samples, Site, collected

CERTIFICATE = "custode_tls_certificate_expiry_timestamp_seconds"
WRITES = "custode_role_can_write"
SSL_REQUEST = (80877103).to_bytes(4, "big")  # PostgreSQL's code for "may we speak TLS?"


@pytest.fixture(scope="module")
def tls_server(scratch: Path) -> Iterator[DebianServer]:
    """A server that speaks TLS, at an address that is not loopback's first one."""
    if not (BIN / "initdb").exists():
        pytest.skip("Debian's postgresql-15 is not installed")
    directory = scratch / "tls"
    directory.mkdir()
    make_certificate(directory)
    files = {"ssl_cert_file": str(directory / "server.crt"), "ssl_key_file": str(directory / "server.key")}
    with debian_server(directory, settings={"ssl": "on"} | files) as server:
        yield server


@pytest.fixture
async def roles(site: Site) -> AsyncIterator[Callable[..., str]]:
    """Make the names of roles that vanish with the test."""
    prefix = f"r_{uuid.uuid4().hex[:8]}_"

    yield lambda name: prefix + name
    names = await site.sql.fetch("select quote_ident(rolname) from pg_roles where starts_with(rolname, $1)", prefix)
    for (name,) in names:
        await site.sql.execute(f"drop owned by {name} cascade; drop role {name}")


def access(**fields: object) -> Policy:
    return Policy(access=AccessPolicy.model_validate(fields))


async def test_a_server_without_tls_has_no_certificate(site: Site) -> None:
    target = site.target()
    found = await collected(SecurityCollector, target)
    assert found["custode_tls_enabled"] == {(): 0}
    assert found["custode_plaintext_sessions"] == {(): 0}
    assert found.get("custode_tls_sessions", {}) == {}
    assert CERTIFICATE not in found
    assert set(target.gaps) == {"pg_hba_file_rules"}
    assert target.failures == {}


async def test_superusers_that_are_not_allowed(site: Site, roles: Callable[..., str]) -> None:
    await site.sql.execute(f'create role "{roles("<!channel> è")}" superuser')
    found = await collected(SecurityCollector, site.target(policy=access(superusers=("postgres",))))
    assert found["custode_superusers"] == {(): 2}
    assert found["custode_unexpected_superuser_info"] == {(roles("<!channel> è"),): 1}
    assert "custode_unexpected_superuser_info" not in await collected(SecurityCollector, site.target())


async def test_passwords_that_end(site: Site, roles: Callable[..., str]) -> None:
    for name, clause in {
        "ends": "login valid until '2031-01-01 00:00:00+00'",
        "forever": "login valid until 'infinity'",
        "plain": "login",
        "nologin": "valid until '2031-01-01 00:00:00+00'",
    }.items():
        await site.sql.execute(f"create role {roles(name)} {clause}")
    found = await collected(SecurityCollector, site.target())
    assert found["custode_role_password_expiry_timestamp_seconds"] == {
        (roles("ends"),): datetime(2031, 1, 1, tzinfo=UTC).timestamp()
    }


@pytest.mark.parametrize(
    ("privilege", "writes"),
    [
        ("grant select on t to {role}", 0),
        ("grant insert on t to {role}", 1),
        ("grant update (a) on t to {role}", 1),
        ("grant delete on t to {role}", 1),
        ("grant truncate on t to {role}", 1),
        ("alter table t owner to {role}", 1),
        ("alter role {role} superuser", 1),
        ("grant pg_write_all_data to {role}", 1),
        ("create role {role}_app; grant insert on t to {role}_app; grant {role}_app to {role}", 1),
        ("alter role {role} noinherit; create role {role}_a superuser; grant {role}_a to {role}", 1),
    ],
)
async def test_roles_that_may_write(site: Site, roles: Callable[..., str], privilege: str, writes: int) -> None:
    role = roles("reader")
    await site.sql.execute(f"create table t (a int); create role {role} login")
    await site.sql.execute(privilege.format(role=role))
    target = site.target(policy=access(read_only_roles=(role, "nobody")))
    assert (await collected(SecurityCollector, target))[WRITES] == {(role,): writes}
    assert "role nobody" in target.gaps


async def test_a_database_that_cannot_be_read_leaves_it_open(site: Site, roles: Callable[..., str]) -> None:
    await site.sql.execute(f"create role {roles('reader')}; create role {roles('writer')}")
    await site.sql.execute(f"create table t (a int); grant insert on t to {roles('writer')}")
    policy = access(read_only_roles=(roles("reader"), roles("writer")))
    target = site.target(policy=policy, databases=(site.database, "not_there"))
    assert (await collected(SecurityCollector, target))[WRITES] == {(roles("writer"),): 1}
    assert set(target.failures) == {"not_there"}


async def test_a_locked_table_is_no_obstacle(site: Site, roles: Callable[..., str]) -> None:
    await site.sql.execute(f"create table t (a int); create role {roles('reader')}")
    target = site.target(policy=access(read_only_roles=(roles("reader"),)))
    async with site.sql.transaction():
        await site.sql.execute("lock table t in access exclusive mode")
        assert (await collected(SecurityCollector, target))[WRITES] == {(roles("reader"),): 0}
    assert target.failures == {}


async def test_lines_of_pg_hba(site: Site) -> None:
    found = await collected(SecurityCollector, site.target(user="postgres"))
    assert found["custode_hba_lines"][("trust",)] >= 1
    assert set(found["custode_hba_lines"]) == {("trust",)}


async def test_granted_lines_of_pg_hba(site: Site) -> None:
    grant = "select on pg_hba_file_rules", "execute on function pg_hba_file_rules()"
    await site.sql.execute(f"grant {grant[0]} to {WATCHER}; grant {grant[1]} to {WATCHER}")
    target = site.target()
    assert (await collected(SecurityCollector, target))["custode_hba_lines"][("trust",)] >= 1
    assert target.gaps == {}


async def test_a_role_without_pg_monitor_is_told_what_it_misses(site: Site, roles: Callable[..., str]) -> None:
    await site.sql.execute(f"create role {roles('plain')} login")
    target = site.target(user=roles("plain"))
    found = await collected(SecurityCollector, target)
    assert "custode_plaintext_sessions" not in found
    assert set(target.gaps) == {"pg_stat_ssl", "pg_hba_file_rules"}
    assert found["custode_superusers"] == {(): 1}


def tls_target(make_target: Callable[..., Target], dsn: str, mode: str = "require") -> Target:
    fields = {"name": "qa", "tier": "qa", "dsn": SecretText(dsn), "databases": ("postgres",), "tls": {"mode": mode}}
    return make_target(Environment.model_validate(fields))


async def watched(tls_server: DebianServer) -> str:
    """The DSN of a role on `tls_server` that has nothing but pg_monitor."""
    admin = await asyncpg.connect(tls_server.dsn())
    if not await admin.fetchval("select exists (select from pg_roles where rolname = $1)", WATCHER):
        await admin.execute(f"create role {WATCHER} login in role pg_monitor")
    await admin.close()
    return tls_server.dsn(user=WATCHER)


@pytest.mark.peer
async def test_tls_in_use_and_the_end_of_the_certificate(
    tls_server: DebianServer, make_target: Callable[..., Target]
) -> None:
    target = tls_target(make_target, await watched(tls_server))
    found = await collected(SecurityCollector, target)
    assert target.failures == {}
    assert found["custode_tls_enabled"] == {(): 1}
    assert {labels[0] for labels in found["custode_tls_sessions"]} == {"TLSv1.3"}
    assert sum(found["custode_tls_sessions"].values()) == 1
    assert found["custode_plaintext_sessions"] == {(): 0}
    assert found[CERTIFICATE] == {(): EXPIRY.timestamp()}


@pytest.mark.peer
@pytest.mark.parametrize("dsn", ["{dsn}", "postgresql:///postgres?host={directory}&port={port}&user={user}"])
async def test_a_certificate_is_read_without_a_tls_session(
    tls_server: DebianServer, make_target: Callable[..., Target], dsn: str
) -> None:
    watcher = await watched(tls_server)
    over_socket = "host=" in dsn
    filled = dsn.format(dsn=watcher, directory=tls_server.directory, port=tls_server.port, user=WATCHER)
    target = tls_target(make_target, filled, mode="disable")
    found: Samples = await collected(SecurityCollector, target)
    assert target.failures == {}
    assert found.get(CERTIFICATE, {}) == ({} if over_socket else {(): EXPIRY.timestamp()})


@pytest.mark.peer
async def test_the_certificate_is_asked_for_where_a_secret_dsn_leads(
    tls_server: DebianServer, make_target: Callable[..., Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readexactly(8))  # the start of any session: its length, a code
        await pass_on(asked[-1], reader, writer, await asyncio.open_connection("127.0.0.1", tls_server.port))

    asked: list[bytes] = []
    async with await asyncio.start_server(relay, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        monkeypatch.setenv("TLS_DSN", (await watched(tls_server)).replace(str(tls_server.port), str(port)))
        target = tls_target(make_target, "env:TLS_DSN", mode="disable")
        found = await collected(SecurityCollector, target)
        await target.connections.close()
    assert found[CERTIFICATE] == {(): EXPIRY.timestamp()}
    assert [SSL_REQUEST in start for start in asked] == [False, True]


async def pass_on(
    start: bytes,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while part := await source.read(65536):
            sink.write(part)
            await sink.drain()
        sink.close()

    server[1].write(start)
    await asyncio.gather(pump(reader, server[1]), pump(server[0], writer))


@pytest.mark.peer
async def test_handshakes_leave_no_complaint_in_the_servers_log(tls_server: DebianServer) -> None:
    log = tls_server.directory / "log"
    before = log.read_text()
    assert await certificate_expiry("127.0.0.1", tls_server.port) == EXPIRY.timestamp()
    admin = await asyncpg.connect(tls_server.dsn())
    await admin.close()
    assert log.read_text() == before


async def test_a_server_that_offers_no_tls_has_no_expiry_and_one_that_hangs_up_is_an_error() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(answers.pop())
        await writer.drain()
        writer.close()

    answers = [b"S", b"", b"N"]
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await certificate_expiry("127.0.0.1", port) is None
        with pytest.raises(ConnectionError):
            await certificate_expiry("127.0.0.1", port)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await certificate_expiry("127.0.0.1", port)
