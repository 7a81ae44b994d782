"""What the configuration and web.yml say about access, read and checked together."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from daemon.actions.operators import Operators
from daemon.config import AccessSettings, Listen, RoleName, Settings
from daemon.web.access.hosts import Hosts, is_loopback
from daemon.web.access.people import People, own_account
from daemon.web.access.tls import make_context
from daemon.web.access.visitor import Role
from daemon.web.access.web_config import WebConfig, read_web_config
from fleet.errors import ConfigError

ROLES: Mapping[RoleName, Role] = {"viewer": Role.VIEWER, "operator": Role.OPERATOR, "admin": Role.ADMIN}
_OTHERS = (
    "write access.config_file with basic_auth_users, access.tokens, or operators with a token (custode token makes"
    " one); or listen on 127.0.0.1; or say access.insecure: true"
)
Stamp = tuple[object, ...]


@dataclass(frozen=True, slots=True, repr=False)
class AccessPolicy:
    """`tls` is what to listen with, None for plain HTTP; `stamp` tells whether the files have changed since."""

    settings: AccessSettings = field(default_factory=AccessSettings)
    web: WebConfig = field(default_factory=WebConfig)
    hosts: Hosts = field(default_factory=Hosts)
    tls: ssl.SSLContext | None = None
    external_url: str | None = None
    stamp: Stamp = ()

    @property
    def wants_certificates(self) -> bool:
        """Whether nobody gets in without a certificate."""
        tls = self.web.tls_server_config
        return tls is not None and tls.client_auth_type == "RequireAndVerifyClientCert"

    def knows_anybody(self, people: People) -> bool:
        """Whether there is anybody who could be known over TCP."""
        return bool(self.web.basic_auth_users or self.settings.tokens) or people.have_tokens

    def open_to_read(self, people: People) -> bool:
        return self.settings.anonymous or not self.knows_anybody(people)

    def role(self, person: str, people: People) -> Role:
        """Of a person known by a password, or by an operator's token."""
        named = self.settings.roles.get(person)
        if named is not None:
            return ROLES[named]
        return Role.OPERATOR if person in people.configured else Role.VIEWER

    def refuse_if_unguarded(self, listen: Listen, people: People) -> None:
        """Raises ConfigError: others could read without being known, and nobody said that they may."""
        guarded = not self.open_to_read(people) or self.wants_certificates
        if not (guarded or self.settings.insecure or is_loopback(listen.host)):
            raise ConfigError(
                f"listen: {listen} is reached by other machines, and everybody there could read all of it", hint=_OTHERS
            )

    def refuse_own_account(self, people: People, account: str) -> None:
        """Raises ConfigError: somebody over TCP would be taken for the account that runs the daemon.

        Without operators, this one may do everything, from its machine only.
        """
        if people.configured or not account:
            return
        token = self.settings.tokens.get(account)
        role = self.role(account, people) if account in self.web.basic_auth_users else Role.PUBLIC
        if role > Role.VIEWER or (token is not None and ROLES[token.role] > Role.VIEWER):
            raise ConfigError(
                f"access: {account} is the daemon's own account, which may do everything as there are no operators",
                hint="give the token or user another name, or write operators",
            )


def read_policy(settings: Settings, *, insecure: bool = False) -> AccessPolicy:
    """Blocks. `insecure` is said beside the configuration.

    Raises:
        ConfigError: web.yml or a certificate is broken, or others could read or act who were not to.
    """
    access = settings.access
    if insecure:
        access = access.model_copy(update={"insecure": True})
    stamp = stamp_of(access.config_file, WebConfig())
    web = WebConfig() if access.config_file is None else read_web_config(access.config_file)
    stamp = (*stamp, *stamp_of(None, web))
    external = urlsplit(settings.external_url or "").hostname
    names = [settings.listen.host, *access.hosts, *([external] if external else [])]
    policy = AccessPolicy(
        settings=access,
        web=web,
        hosts=Hosts(names),
        tls=None if web.tls_server_config is None else make_context(web.tls_server_config),
        external_url=settings.external_url,
        stamp=stamp,
    )
    people = Operators(settings.operators, "")
    policy.refuse_if_unguarded(settings.listen, people)
    policy.refuse_own_account(people, own_account())
    return policy


def stamp_of(config_file: Path | None, web: WebConfig) -> Stamp:
    """Changes when web.yml, a key or a certificate does. Blocks."""
    return tuple(_stamp(path) for path in _files(config_file, web))


def _files(config_file: Path | None, web: WebConfig) -> Iterator[Path]:
    if config_file is not None:
        yield config_file
    if (tls := web.tls_server_config) is not None:
        yield tls.cert_file
        yield tls.key_file
        if tls.client_ca_file is not None:
            yield tls.client_ca_file


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
