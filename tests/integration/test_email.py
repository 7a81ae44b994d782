"""Mail, taken by a real SMTP server: encrypted, logged in, refused for now and for good."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from daemon.notifiers import Message, Permanent, Retryable, Severity
from daemon.notifiers.email import EmailNotifier
from fleet.secrets import Secrets

MESSAGE = Message(
    "alert:a:firing:1",
    "alert",
    Severity.CRITICAL,
    "BackupTooOld firing: città\r\nBcc: eve@example.com",
    1_800_000_000.0,
    "production",
    "the last one is of 05:00",
    {"copy": "local"},
    "a",
)


@dataclass
class Mailbox:
    """aiosmtpd's handler."""

    answer: str = "250 OK"
    heard: list[EmailMessage] = field(default_factory=list)
    to: list[list[str]] = field(default_factory=list)

    async def handle_DATA(self, _server: object, _session: object, envelope: Envelope) -> str:  # noqa: N802
        if self.answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.heard.append(message_from_bytes(envelope.content, policy=policy.default))
            self.to.append(envelope.rcpt_tos)
        return self.answer


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
async def port(mailbox: Mailbox) -> AsyncIterator[int]:
    """Of a server that speaks in the clear."""
    async with served(mailbox) as number:
        yield number


@asynccontextmanager
async def served(mailbox: Mailbox, **options: Any) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mailbox, hostname="mail.example", **options), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def notifier(port: int, **options: Any) -> EmailNotifier:
    settings = {"host": "127.0.0.1", "port": port, "tls": "none", "sender": "custode@example.com"}
    options = {"to": ["team@example.com", "ops@example.com"], **options}
    return EmailNotifier(EmailNotifier.Options.model_validate(settings | options), Secrets(time.monotonic))


async def test_a_message_is_mailed_and_its_thread_is_a_conversation(mailbox: Mailbox, port: int) -> None:
    mailer = notifier(port)
    receipt = await mailer.send(MESSAGE)
    await mailer.send(replace(MESSAGE, id="2", severity=Severity.GOOD, title="BackupTooOld resolved"))
    first, second = mailbox.heard
    assert mailbox.to[0] == ["team@example.com", "ops@example.com"]
    assert first["Subject"] == "[production] BackupTooOld firing: città Bcc: eve@example.com"
    assert first["Bcc"] is None
    assert first["From"] == "Custode <custode@example.com>"
    assert first["Date"].datetime.timestamp() == MESSAGE.at
    assert receipt.reference == first["Message-ID"] != second["Message-ID"]
    assert first["References"] == second["References"]
    assert "the last one is of 05:00" in first.get_content()
    assert "copy: local" in first.get_content()


async def test_names_of_any_kind_are_mailed(mailbox: Mailbox, port: int) -> None:
    await notifier(port).send(
        replace(MESSAGE, title="\ud800\0\u2028x" * 100, text="\ud800\0.\r\n.\r\n", environment="é")
    )
    assert len(mailbox.heard) == 1


async def test_only_what_is_severe_enough_is_mailed(mailbox: Mailbox, port: int) -> None:
    for severity in (Severity.INFO, Severity.WARNING, Severity.CRITICAL, Severity.GOOD):
        await notifier(port, least="critical").send(replace(MESSAGE, id=severity, severity=severity))
    assert len(mailbox.heard) == 2


@pytest.mark.parametrize(
    ("answer", "kind"),
    [("451 try again", Retryable), ("552 too large", Permanent), ("554 no", Permanent)],
)
async def test_what_the_server_refuses(mailbox: Mailbox, port: int, answer: str, kind: type[Exception]) -> None:
    mailbox.answer = answer
    with pytest.raises(kind, match=answer[:3]):
        await notifier(port).send(MESSAGE)


async def test_a_server_that_is_away_or_cannot_encrypt_gets_nothing(mailbox: Mailbox, port: int) -> None:
    with pytest.raises(Retryable):
        await notifier(9).send(MESSAGE)
    for tls in ("starttls", "tls"):
        with pytest.raises(Retryable):
            await notifier(port, tls=tls, timeout=timedelta(seconds=2)).send(MESSAGE)
    assert mailbox.heard == []


def certificate(folder: Path) -> Path:
    """A certificate for localhost with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "server.pem"
    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem) + secret)
    return path


async def test_it_encrypts_and_logs_in(mailbox: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", "hunter2")
    path = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)

    def authenticate(_server: object, _session: object, _envelope: object, _kind: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"custode", b"hunter2"), handled=False)

    options = {"tls_context": context, "require_starttls": True, "authenticator": authenticate, "auth_required": True}
    chosen = {"host": "localhost", "tls": "starttls", "user": "custode", "password": "env:MAIL_PASSWORD"}
    async with served(mailbox, **options) as port:
        await notifier(port, ca_file=path, **chosen).send(MESSAGE)
        assert len(mailbox.heard) == 1
        with pytest.raises(Retryable, match="certificate"):
            await notifier(port, **chosen).send(MESSAGE)
        monkeypatch.setenv("MAIL_PASSWORD", "other")
        with pytest.raises(Retryable, match="does not let us in") as raised:
            await notifier(port, ca_file=path, **chosen).send(MESSAGE)
        assert "other" not in str(raised.value)
    assert len(mailbox.heard) == 1


async def test_a_probe_signs_in_and_mails_nothing(mailbox: Mailbox, port: int) -> None:
    assert await notifier(port).probe() == f"127.0.0.1:{port} lets us in"
    assert mailbox.heard == []
    with pytest.raises(Retryable, match="cannot be used"):
        await notifier(1).probe()
