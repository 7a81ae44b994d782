"""Mail each message by SMTP; what belongs together is one conversation of the reader."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from ssl import create_default_context
from typing import Annotated, Literal

import aiosmtplib
from pydantic import AfterValidator, Field

from daemon.notifiers._notifier import Message, Notifier, Permanent, Receipt, Retryable, Severity
from fleet.durations import Duration
from fleet.errors import SecretError
from fleet.policy import Strict
from fleet.secrets import Secrets, SecretText

_LONGEST_SUBJECT = 150


def _address(text: str) -> str:
    try:
        Address(addr_spec=text)
    except Exception:  # noqa: BLE001 - the parser of the standard library raises what it likes
        raise ValueError("is no address; write it like team@example.com") from None
    return text


_Mail = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$"), AfterValidator(_address)]


class EmailNotifier(Notifier):
    """A server that refuses the sender or all who should get it does so for good."""

    name = "email"
    summary = "mail by SMTP"

    class Options(Strict):
        host: str = Field(min_length=1, description="SMTP server")
        port: int = Field(587, ge=1, le=65535, description="its port")
        tls: Literal["starttls", "tls", "none"] = Field(
            "starttls", description="encrypt after the greeting, from the first byte on, or not at all"
        )
        ca_file: Path | None = Field(None, description="certificate authority of the server; null: the system's")
        user: str | None = Field(None, description="user to log in as; null: nobody logs in")
        password: SecretText | None = Field(None, description="reference to the password of the user")
        sender: _Mail = Field(description="address that the mail is from")
        to: tuple[_Mail, ...] = Field(min_length=1, description="addresses that get it")
        least: Literal["critical", "warning", "info"] = Field(
            "warning", description="the least severity that is mailed; that trouble has ended always is"
        )
        timeout: Duration = Field(timedelta(seconds=20), gt=timedelta(0), description="for one mail")

    def __init__(self, options: Options, secrets: Secrets) -> None:
        self._options = options
        self._secrets = secrets

    async def send(self, message: Message) -> Receipt:
        if _GRAVITY[message.severity] < _GRAVITY[Severity(self._options.least)]:
            return Receipt("not mailed: less severe than configured")
        mail = self._mail(message)
        async with self._signed_in() as server:
            await server.send_message(mail)
        return Receipt(str(mail["Message-ID"]))

    async def probe(self) -> str:
        async with self._signed_in() as server:
            await server.noop()
        return f"{self._options.host}:{self._options.port} lets us in"

    @asynccontextmanager
    async def _signed_in(self) -> AsyncIterator[aiosmtplib.SMTP]:
        """A session with the server; what goes wrong with it is told as what to do about it."""
        options = self._options
        try:
            password = None if options.password is None else await self._secrets.fill(options.password)
            context = create_default_context(cafile=None if options.ca_file is None else str(options.ca_file))
            async with aiosmtplib.SMTP(
                hostname=options.host,
                port=options.port,
                use_tls=options.tls == "tls",
                start_tls=options.tls == "starttls",
                username=options.user,
                password=password,
                timeout=options.timeout.total_seconds(),
                tls_context=None if options.tls == "none" else context,
            ) as server:
                yield server
        except SecretError as error:
            raise Retryable(error.message, hint=error.hint) from error
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [one.code for one in error.recipients]
            raise _refused(min(codes, default=450), "the mail server refuses everybody in `to`") from None
        except aiosmtplib.SMTPAuthenticationError as error:
            raise Retryable(f"the mail server does not let us in: {error.code}") from None
        except aiosmtplib.SMTPResponseException as error:
            raise _refused(error.code, f"the mail server refuses: {error.code} {error.message}") from None
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            raise Retryable(f"the mail server cannot be used: {error or type(error).__name__}") from None

    def _mail(self, message: Message) -> EmailMessage:
        mail, domain = EmailMessage(), self._options.sender.rpartition("@")[2]
        place = f"[{message.environment}] " if message.environment else ""
        mail["Subject"] = _line(f"{place}{message.title}")[:_LONGEST_SUBJECT]
        mail["From"] = Address("Custode", addr_spec=self._options.sender)
        mail["To"] = ", ".join(self._options.to)
        mail["Date"] = format_datetime(datetime.fromtimestamp(message.at, UTC))
        # the same for the same message, so that one that comes twice is known
        mail["Message-ID"] = f"<{_digest(message.id)}@{domain}>"
        if message.thread:
            mail["References"] = f"<{_digest(message.thread)}@{domain}>"
        mail["Auto-Submitted"] = "auto-generated"
        fields = [f"{name}: {value}" for name, value in message.fields.items()]
        mail.set_content(_sound("\n".join([message.title, "", message.text, "", *fields]).strip()) + "\n")
        return mail


_GRAVITY = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2, Severity.GOOD: 3}


def _refused(code: int, said: str) -> Retryable | Permanent:
    """SMTP's 4xx are for now, 5xx for good."""
    return Permanent(said) if code >= 500 else Retryable(said)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:32]


def _line(text: str) -> str:
    """One line: what follows a line's end in a header would be another header."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in _sound(text)).split())


def _sound(text: str) -> str:
    return text.encode(errors="replace").decode().replace("\0", "")
