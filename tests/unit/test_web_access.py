"""The parts of access control, each by itself."""

from __future__ import annotations

import asyncio
import ipaddress

import bcrypt
import pytest

from daemon.actions.operators import Operators
from daemon.config import OperatorSettings, TokenSettings
from daemon.page.login import local_path
from daemon.web._connections import Connections
from daemon.web.access.failures import WITHIN, Bucket, Failures
from daemon.web.access.hosts import Hosts, is_loopback
from daemon.web.access.passwords import Passwords
from daemon.web.access.proxies import client_of
from daemon.web.access.sessions import LONGEST, MOST_OF_PERSON, Proof, Sessions
from daemon.web.access.tokens import digest_of, find_holder
from fleet.errors import SecretError
from fleet.secrets import Secrets, SecretText
from tests.access_site import hashed

ALLOWED = 10  # failures in a minute, by default

NOBODY = Operators({}, "root")
PROOF = Proof("token", "ada", b"x")


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("host", "fits"),
    [
        ("localhost", True),
        ("LOCALHOST:9188", True),
        ("custode.localhost:9188", True),
        ("127.0.0.1:9188", True),
        ("10.1.2.3", True),
        ("[::1]:9188", True),
        ("db1.internal", True),
        ("db1.internal.", True),
        ("evil.example", False),
        ("evil.example:9188", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("db1.internal@evil.example", False),
        ("evil.example/localhost", False),
        ("[::1].evil.example", False),
        ("[zz]", False),
        ("", False),
        (None, False),
    ],
)
def test_hosts(host: str | None, fits: bool) -> None:
    assert Hosts(["DB1.internal"]).fits(host) is fits


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104 - that is asked
        ("::", False),
        ("10.0.0.1", False),
        ("custode.internal", False),
    ],
)
def test_which_addresses_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/", "/"),
        ("/actions/1?x=/y&z=1", "/actions/1?x=/y&z=1"),
        ("//evil.example", "/"),
        ("///evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/a\\..\\evil", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("evil.example", "/"),
        ("", "/"),
        ("/\t/evil.example", "/"),
        ("/a\r\nSet-Cookie: x", "/"),
        ("\x00/", "/"),
        ("/login?next=/login", "/"),
        ("/logout", "/"),
    ],
)
def test_after_signing_in_nobody_is_led_elsewhere(text: str, path: str) -> None:
    assert local_path(text) == path


def test_failures_of_one_address_shut_out_nobody_else() -> None:
    time = Time()
    failures = Failures(time, lambda: ALLOWED)
    for _ in range(ALLOWED):
        assert failures.wait("10.0.0.1") == 0
        failures.note("10.0.0.1")
    assert (failures.wait("10.0.0.1"), failures.wait("10.0.0.2"), failures.wait("")) == (WITHIN, 0, 0)
    time.now += WITHIN - 0.5
    assert failures.wait("10.0.0.1") == 1
    time.now += 0.5
    assert failures.wait("10.0.0.1") == 0


def test_a_network_of_ipv6_is_one_address() -> None:
    failures = Failures(Time(), lambda: ALLOWED)
    for number in range(ALLOWED):
        failures.note(f"2001:db8::{number:x}")
    assert failures.wait("2001:db8::ffff") > 0
    assert failures.wait("2001:db8:0:1::1") == 0
    for _ in range(ALLOWED):
        failures.note("::ffff:10.0.0.1")
    assert failures.wait("10.0.0.1") > 0


def test_the_bucket() -> None:
    time = Time()
    bucket = Bucket(2.0, 3, time)
    assert [bucket.take() > 0 for _ in range(5)] == [False, False, False, True, True]
    assert bucket.take() == pytest.approx(2.0)
    time.now += 2.0
    assert [bucket.take() > 0 for _ in range(2)] == [False, True]
    unbounded = Bucket(0.0, 1, time)
    assert not any(unbounded.take() for _ in range(1000))


def test_sessions_end_when_they_are_not_used_and_after_a_week_in_any_case() -> None:
    time = Time()
    sessions = Sessions(lambda: 60.0, time)
    first = sessions.begin(PROOF)
    time.now += 59
    assert sessions.find(first) is not None
    time.now += 59
    assert sessions.find(first, use=False) is not None
    time.now += 1
    assert sessions.find(first) is None
    second, begun = sessions.begin(PROOF), time.now
    while time.now < begun + LONGEST - 59:
        time.now += 59
        assert sessions.find(second) is not None
    time.now = begun + LONGEST
    assert sessions.find(second) is None


def test_of_a_session_only_a_hash_of_its_id_is_kept() -> None:
    sessions = Sessions(lambda: 60.0, Time())
    ids = {sessions.begin(Proof("token", f"person {number}", b"x")) for number in range(100)}
    assert len(ids) == 100
    assert min(map(len, ids)) >= 43
    kept = repr([(mark, vars_of) for mark, vars_of in sessions._sessions.items()])
    assert not any(one in kept for one in ids)
    assert "person" not in kept
    session = sessions.find(ids.pop())
    assert session is not None
    sessions.end(session)
    assert sessions.find("") is None
    assert sessions.find("\udcff") is None


def test_of_too_many_sessions_of_a_person_the_least_used_ends() -> None:
    sessions = Sessions(lambda: 60.0, Time())
    other = sessions.begin(Proof("token", "bob", b"y"))
    first, second, *more = [sessions.begin(PROOF) for _ in range(MOST_OF_PERSON)]
    assert sessions.find(first) is not None
    newest = sessions.begin(PROOF)
    assert sessions.find(second) is None
    assert all(sessions.find(one) is not None for one in (other, first, *more, newest))


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("::ffff:10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("203.0.113.9", ["203.0.113.7"], "203.0.113.9"),  # no proxy of ours says so
        ("10.0.0.1", ["198.51.100.1, 203.0.113.7"], "203.0.113.7"),  # what came with it, a stranger wrote
        ("10.0.0.1", ["198.51.100.1", "203.0.113.7 , 10.9.9.9"], "203.0.113.7"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["203.0.113.7, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.7, , 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["203.0.113.7:4711"], "203.0.113.7"),
        ("10.0.0.1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        ("10.0.0.1", ["2001:db8::7"], "2001:db8::7"),
        ("fd00::1", ["203.0.113.7"], "203.0.113.7"),
        ("", ["203.0.113.7"], ""),
    ],
)
def test_where_a_client_is_behind_proxies(peer: str, forwarded: list[str], found: str) -> None:
    trusted = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::1")]
    assert client_of(peer, forwarded, trusted) == found
    assert client_of(peer, forwarded, []) == peer


def test_connections_are_bounded_in_all_and_by_place() -> None:
    connections = Connections(most=4, each=2)
    first, second = connections.enter("a"), connections.enter("a")
    assert first is not None
    assert second is not None
    assert connections.enter("a") is None
    assert [connections.enter(None) is None for _ in range(3)] == [False, False, True]
    assert connections.enter("b") is None
    first.leave()
    first.leave()  # counts once
    assert [connections.enter("b") is None for _ in range(2)] == [False, True]


async def test_passwords() -> None:
    passwords, users = Passwords(), {"ada": hashed("città"), "eve": hashed("x" * 72)}
    assert not passwords.known(users, "ada", "città")
    assert await passwords.right(users, "ada", "città")
    assert passwords.known(users, "ada", "città")
    for user, password in (
        ("ada", "citta"),
        ("ada", ""),
        ("bob", "città"),
        ("", ""),
        ("ada", "\udcff"),
        ("ada", "a\0"),
    ):
        assert not await passwords.right(users, user, password), (user, password)
    assert await passwords.right(users, "eve", "x" * 72)
    # bcrypt would not see what follows
    assert not await passwords.right(users, "eve", "x" * 73)
    assert not passwords.known({"ada": hashed("other")}, "ada", "città")
    assert not passwords.known({}, "ada", "città")
    assert "citt" not in repr(vars(passwords))


async def test_nobody_learns_from_the_time_who_is_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash as costly as the users' is tried for a name that nobody has."""
    tried: list[str] = []
    original = bcrypt.checkpw

    def noting(password: bytes, against: bytes) -> bool:
        tried.append(against.decode()[:7])
        return original(password, against)

    monkeypatch.setattr(bcrypt, "checkpw", noting)
    users = {"ada": hashed("x"), "bob": "$2b$05$" + hashed("x")[7:]}
    assert not await Passwords().right(users, "nobody", "x")
    assert not await Passwords().right({}, "nobody", "x")
    assert tried == ["$2b$05$", "$2b$10$"]


async def test_hashes_are_made_beside_the_event_loop() -> None:
    passwords, users = Passwords(), {"ada": "$2b$12$" + hashed("x")[7:]}
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.001)

    async with asyncio.TaskGroup() as group:
        counting = group.create_task(count())
        assert not await passwords.right(users, "ada", "x")
        counting.cancel()
    assert turns > 5


async def test_whose_token_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFERRED", "by-reference")
    monkeypatch.setenv("CARLA", "of-carla")
    secrets = Secrets(Time())
    people = Operators({"carla": OperatorSettings(token=SecretText("env:CARLA"))}, "root")
    read = TokenSettings.model_validate
    tokens = {
        "hash": read({"sha256": digest_of("by-hash").hex(), "role": "admin", "expires": "2030-01-01"}),
        "reference": read({"token": "env:REFERRED"}),
    }

    async def who(token: str, now: float = 1.7e9) -> tuple[str, object, bool] | None:
        found = await find_holder(digest_of(token), tokens, people, secrets, now)
        return None if found is None else (found.person, found.role, found.expired)

    assert await who("by-hash") == ("hash", "admin", False)
    assert await who("by-hash", 1_893_456_000.0) == ("hash", "admin", True)
    assert await who("by-reference") == ("reference", "viewer", False)
    assert await who("of-carla") == ("carla", None, False)
    for token in ("", "by-hash ", "env:REFERRED", digest_of("by-hash").hex(), "\udcff"):
        assert await who(token) is None, token
    tokens["twin"] = read({"sha256": digest_of("by-reference").hex()})
    assert await who("by-reference") is None
    tokens["missing"] = read({"token": "env:NOT_THERE"})
    assert await who("by-hash") == ("hash", "admin", False)
    with pytest.raises(SecretError, match=r"access\.tokens\.missing: .*NOT_THERE is not set"):
        await who("nobody's")
    assert "by-hash" not in repr(tokens)
    assert digest_of("by-hash").hex() not in repr(tokens)
