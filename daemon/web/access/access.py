"""Who a request comes from: its credentials judged by what the configuration says now."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Callable

import structlog
from aiohttp import web

from daemon import clock
from daemon.actions.operators import Operators
from daemon.config import Settings
from daemon.web.access.cookies import session_id
from daemon.web.access.csrf import READING, Csrf
from daemon.web.access.errors import TooManyFailuresError, UnidentifiedError
from daemon.web.access.failures import Bucket, Failures
from daemon.web.access.hosts import is_loopback
from daemon.web.access.passwords import Passwords
from daemon.web.access.people import People, account_of, peer_uid
from daemon.web.access.policy import ROLES, AccessPolicy, read_policy, stamp_of
from daemon.web.access.proxies import client, client_of, is_among, place_of
from daemon.web.access.sessions import Proof, Session, Sessions
from daemon.web.access.tokens import Holder, digest_of, find_holder
from daemon.web.access.visitor import NOBODY, Role, Visitor
from fleet.errors import ConfigError, CustodeError, SecretError
from fleet.secrets import Secrets

log = structlog.get_logger()

LOOK_SECONDS = 5.0  # how often the files are looked at
_WITHOUT = "; the custode command takes it from CUSTODE_TOKEN, and needs none on the daemon's machine"


class Access:
    """`people` is asked each time, as the configuration may be read again; `now` gives unix seconds.

    `count` is told by what somebody was refused; `insecure` is said beside the configuration.
    """

    def __init__(
        self,
        policy: AccessPolicy,
        people: Callable[[], People],
        secrets: Secrets,
        *,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        count: Callable[[str], None] = lambda _reason: None,
        insecure: bool = False,
    ) -> None:
        self.policy = policy
        self.count = count
        self._insecure = insecure
        self.csrf = Csrf()
        self._people = people
        self._secrets = secrets
        self._now = now
        self._monotonic = monotonic
        self._passwords = Passwords()
        self._failures = Failures(monotonic, lambda: self.policy.settings.attempts)
        self._sessions = Sessions(self._idle, monotonic)
        self._bucket = self._new_bucket()
        self.on_change: Callable[[AccessPolicy], None] = lambda _policy: None  # another certificate may be served

    @property
    def knows_anybody(self) -> bool:
        """Whether there is anybody who could sign in."""
        return self.policy.knows_anybody(self._people())

    @property
    def knows_nobody(self) -> bool:
        """Whether the configuration names nobody at all."""
        return not (self.knows_anybody or self._people().configured)

    @property
    def knows_users(self) -> bool:
        return bool(self.policy.web.basic_auth_users)

    @property
    def knows_tokens(self) -> bool:
        return bool(self.policy.settings.tokens) or self._people().have_tokens

    @property
    def open_to_read(self) -> bool:
        return self.policy.open_to_read(self._people())

    @property
    def token_hint(self) -> str:
        if self.policy.settings.tokens or self.policy.web.basic_auth_users:
            return "send Authorization: Bearer TOKEN, or sign in" + _WITHOUT
        return self._people().token_hint + _WITHOUT

    def wait_for_turn(self) -> float:
        """Seconds until another request is served; 0: now."""
        return self._bucket.take()

    def client_of(self, request: web.Request) -> str:
        """The address that a request comes from."""
        forwarded = request.headers.getall("X-Forwarded-For", ())
        return client_of(request.remote or "", forwarded, self.policy.settings.trusted_proxies)

    def place_of(self, peer: str) -> str | None:
        """What shares a bound on connections with others. Not a proxy's, and who is on the machine has other means."""
        if is_loopback(peer) or is_among(peer, self.policy.settings.trusted_proxies):
            return None
        return place_of(peer)

    async def local(self, uid: int) -> Visitor:
        """Whom the kernel says is at the control socket. All who reach it may read."""
        people = self._people()
        account = await account_of(uid)
        person = None if account is None else people.by_local_user(account)
        if person is None:
            return Visitor(None, Role.VIEWER, "cli")
        role = self.policy.role(person, people)
        if person not in self.policy.settings.roles and not people.configured:
            role = Role.ADMIN
        return Visitor(person, role, "cli")

    async def refuse_local(self, uid: int) -> UnidentifiedError:
        account = await account_of(uid)
        log.warning("local_user_not_known", uid=uid, account=account)
        shown = f"the account {account}" if account else f"the user id {uid}, which has no account,"
        return UnidentifiedError(
            f"{shown} is no operator here", hint="name it as an operator's local user in the configuration"
        )

    async def remote(self, request: web.Request, *, follows: bool = False) -> Visitor:
        """Whose credentials a request over TCP carries; NOBODY where it carries none. `follows` as in `of_session`.

        Raises:
            UnidentifiedError: they are not good. TooManyFailuresError: so were too many before.
            SecretError: whose they are cannot be told.
        """
        written = request.headers.get("Authorization")
        if written is None:
            return await self.of_session(request, follows=follows)
        scheme, _, value = written.strip().partition(" ")
        value = value.strip()
        if scheme.lower() == "bearer" and value:
            holder = await self._token(request, value)
            return Visitor(holder.person, self._role(holder), "http")
        if scheme.lower() == "basic" and value and self.policy.web.basic_auth_users:
            user, password = _user_and_password(value)
            await self._password(request, user, password)
            role = self.policy.role(user, self._people())
            return Visitor(user, role, "http", self.csrf.token(f"user {user}".encode()))
        raise self.failed(request, "credentials", "who asks is not known")

    async def may_follow(self, request: web.Request) -> bool:
        """Whether who began to read something long may still read."""
        if self.open_to_read or peer_uid(request) is not None:
            return True
        try:
            return (await self.remote(request, follows=True)).role >= Role.VIEWER
        except CustodeError:
            return False

    async def of_session(self, request: web.Request, *, follows: bool = False) -> Visitor:
        """Who is signed in with this browser; NOBODY where nobody is, or what it was signed in by counts no more.

        `follows`: nobody asks by hand, so that the session does not last longer for it.
        """
        session = self._sessions.find(session_id(request), use=_by_hand(request) and not follows)
        if session is None:
            return NOBODY
        role = await self._proven(session.proof)
        if role is None:
            self._sessions.end(session)
            return NOBODY
        return Visitor(session.proof.person, role, "page", self.csrf.token(session.mark))

    async def sign_in(self, request: web.Request, *, user: str, password: str, token: str) -> str:
        """The id of a new session, for a token, or for a user with a password. Raises as `remote`."""
        if token:
            holder = await self._token(request, token)
            proof = Proof("token", holder.person, digest_of(token))
        else:
            hashed = await self._password(request, user, password)
            proof = Proof("password", user, hashlib.sha256(hashed.encode()).digest())
        self._forget(request)
        log.info("signed_in", person=proof.person, by=proof.kind, remote=client(request))
        return self._sessions.begin(proof)

    def sign_out(self, request: web.Request) -> None:
        self._forget(request)

    def failed(self, request: web.Request, reason: str, message: str, hint: str | None = None) -> CustodeError:
        """What to raise for credentials that are not good; it counts."""
        if wait := self._failures.wait(client(request)):
            self.count("limited")
            return TooManyFailuresError(wait)
        self._failures.note(client(request))
        self.count(reason)
        log.warning("sign_in_failed", by=reason, remote=client(request), because=message)
        return UnidentifiedError(message, hint=hint or self.token_hint)

    async def read(self, settings: Settings) -> AccessPolicy:
        """What would hold with other settings. Raises ConfigError."""
        read = await asyncio.to_thread(read_policy, settings, insecure=self._insecure)
        if (read.tls is None) != (self.policy.tls is None):
            raise ConfigError("TLS cannot be switched on or off while the daemon runs", hint="restart it")
        return read

    def take(self, policy: AccessPolicy) -> None:
        """Let another policy hold from now on."""
        self.on_change(policy)
        self.policy = policy
        self._bucket = self._new_bucket()

    async def watch(self, settings: Callable[[], Settings], every: float = LOOK_SECONDS) -> None:
        """Read web.yml and its certificates again when they change; a broken one changes nothing, and is told once."""
        refused: object = None
        while True:
            await asyncio.sleep(every)
            policy = self.policy
            stamp = await asyncio.to_thread(stamp_of, policy.settings.config_file, policy.web)
            if stamp in {policy.stamp, refused}:
                continue
            try:
                self.take(await self.read(settings()))
            except CustodeError as error:
                refused = stamp
                log.error("web_config_refused", error=error.message, hint=error.hint)  # noqa: TRY400 - no trace
            else:
                log.info("web_config_read", source=str(policy.settings.config_file))

    async def _token(self, request: web.Request, token: str) -> Holder:
        # before whoever guesses is shut out: one of 256 bits is not guessed, and behind a proxy all have one address
        holder = await self._holder(digest_of(token))
        if holder is None:
            raise self.failed(request, "token", "the token is not known here")
        if holder.expired:
            raise self.failed(request, "token", f"the token of {holder.person} has expired")
        return holder

    async def _password(self, request: web.Request, user: str, password: str) -> str:
        """The hash that it fits."""
        users = self.policy.web.users
        if self._passwords.known(users, user, password):
            return users[user]  # who was known before is not shut out by who guesses
        async with self._passwords.turns:
            if self._failures.wait(client(request)) or not await self._passwords.right(users, user, password):
                raise self.failed(request, "password", "no user has this name and password")
        return users[user]

    async def _proven(self, proof: Proof) -> Role | None:
        """The role of who is signed in, as long as what it was signed in by still counts."""
        if proof.kind == "password":
            hashed = self.policy.web.users.get(proof.person)
            if hashed is None or hashlib.sha256(hashed.encode()).digest() != proof.digest:
                return None
            return self.policy.role(proof.person, self._people())
        holder = await self._holder(proof.digest)
        return None if holder is None or holder.expired or holder.person != proof.person else self._role(holder)

    async def _holder(self, digest: bytes) -> Holder | None:
        people, tokens = self._people(), self.policy.settings.tokens
        try:
            return await find_holder(digest, tokens, people, self._secrets, self._now())
        except SecretError as error:
            log.error("tokens_cannot_be_read", error=error.message)  # noqa: TRY400 - no trace is needed
            # a stranger is not told which secret it is
            raise SecretError("whose token that is cannot be told now", hint="the daemon's log says why") from None

    def _role(self, holder: Holder) -> Role:
        return self.policy.role(holder.person, self._people()) if holder.role is None else ROLES[holder.role]

    def _forget(self, request: web.Request) -> None:
        session: Session | None = self._sessions.find(session_id(request))
        if session is not None:
            self._sessions.end(session)

    def _idle(self) -> float:
        return self.policy.settings.session.total_seconds()

    def _new_bucket(self) -> Bucket:
        rate = self.policy.web.rate_limit
        return Bucket(rate.interval.total_seconds(), rate.burst, self._monotonic)


async def make_access(
    settings: Settings,
    people: Callable[[], People],
    secrets: Secrets,
    *,
    insecure: bool = False,
    count: Callable[[str], None] = lambda _reason: None,
) -> Access:
    """Raises ConfigError, as `read_policy`."""
    policy = await asyncio.to_thread(read_policy, settings, insecure=insecure)
    if policy.web.http_server_config.told_http2:
        log.info("http2_is_not_served", source=str(settings.access.config_file), served="HTTP/1.1")
    return Access(policy, people, secrets, now=clock.now, monotonic=clock.monotonic, count=count, insecure=insecure)


def open_access() -> Access:
    """Of a server that knows nobody: whoever reaches it may read."""
    nobody, secrets = Operators({}, "root"), Secrets(clock.monotonic)
    return Access(AccessPolicy(), lambda: nobody, secrets, now=clock.now, monotonic=clock.monotonic)


def _by_hand(request: web.Request) -> bool:
    """Whether somebody asks, and not a page that keeps itself up to date."""
    headers = request.headers
    by_script = (
        headers.get("Sec-Fetch-Mode", "navigate") != "navigate"  # browsers say it over TLS, and to localhost
        or "HX-Request" in headers
        or headers.get("Accept") == "text/event-stream"
    )
    return not (by_script and request.method in READING)


def _user_and_password(value: str) -> tuple[str, str]:
    """What is no such pair is one that nobody has."""
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return user, password
