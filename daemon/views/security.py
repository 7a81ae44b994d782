"""The security posture of an environment: TLS, roles, passwords, the lines of pg_hba.conf."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.views.samples import Question, Samples, flag
from fleet.policy import Policy

SECURITY = Question(
    (
        "tls_enabled",
        "tls_certificate_expiry_timestamp_seconds",
        "plaintext_sessions",
        "tls_sessions",
        "superusers",
        "unexpected_superuser_info",
        "role_can_write",
        "role_password_expiry_timestamp_seconds",
        "hba_lines",
    )
)


@dataclass(frozen=True, slots=True)
class TlsSessions:
    version: str
    cipher: str
    count: float


@dataclass(frozen=True, slots=True)
class ReadOnlyRole:
    """`can_write` is None where nobody could tell."""

    name: str
    can_write: bool | None


@dataclass(frozen=True, slots=True)
class Password:
    """When the password of a role ends, unix seconds; roles whose passwords do not end are not among them."""

    role: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class HbaLines:
    method: str
    count: float


@dataclass(frozen=True, slots=True)
class Security:
    """`allowed_superusers` None: any. Moments are unix seconds; what nobody could read is None."""

    tls_enabled: bool | None
    tls_required: bool
    certificate_wanted: str
    certificate_expires_at: float | None
    plaintext_sessions: float | None
    tls_sessions: tuple[TlsSessions, ...]
    superusers: float | None
    allowed_superusers: tuple[str, ...] | None
    unexpected_superusers: tuple[str, ...]
    read_only_roles: tuple[ReadOnlyRole, ...]
    passwords: tuple[Password, ...]
    hba: tuple[HbaLines, ...]


def security(samples: Samples, policy: Policy) -> Security:
    can_write = samples.by("role_can_write", "rolname")
    roles = sorted({*policy.access.read_only_roles, *(name for (name,) in can_write)})
    sessions = samples.by("tls_sessions", "version", "cipher")
    passwords = samples.by("role_password_expiry_timestamp_seconds", "rolname")
    return Security(
        flag(samples.one("tls_enabled")),
        policy.tls.required,
        policy.tls.certificate,
        samples.one("tls_certificate_expiry_timestamp_seconds"),
        samples.one("plaintext_sessions"),
        tuple(TlsSessions(version, cipher, count) for (version, cipher), count in sorted(sessions.items())),
        samples.one("superusers"),
        policy.access.superusers,
        tuple(sorted(labels.get("rolname", "") for labels in samples.infos("unexpected_superuser_info"))),
        tuple(ReadOnlyRole(name, flag(can_write.get((name,)))) for name in roles),
        tuple(Password(name, at) for (name,), at in sorted(passwords.items(), key=lambda one: one[1])),
        tuple(HbaLines(method, count) for (method,), count in sorted(samples.by("hba_lines", "method").items())),
    )
