"""Who may reach the daemon over HTTP, and for what."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from daemon.config._actions import OPERATOR_NAME
from daemon.config._alertmanager import Reference
from fleet.durations import Duration
from fleet.policy import Strict

RoleName = Literal["viewer", "operator", "admin"]
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HOST = r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?$"
_Name = Annotated[str, Field(pattern=rf"^{OPERATOR_NAME.pattern}$")]


def _hexadecimal(digest: SecretStr) -> SecretStr:
    if not _SHA256.fullmatch(digest.get_secret_value()):
        raise ValueError("is no SHA-256 in hexadecimal; custode token makes a token and its sha256")
    return digest


def _network(written: object) -> object:
    try:
        return ipaddress.ip_network(str(written))
    except ValueError:
        raise ValueError("is no address, and no network such as 10.0.0.0/8") from None


_Network = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, BeforeValidator(_network)]


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


class TokenSettings(Strict):
    """A bearer token. Its holder is known by the token's name: that of an operator, to act as this one."""

    token: Reference | None = Field(None, description="reference to the token itself; or its sha256")
    # shown to nobody: a short token that somebody thought out could be found from it
    sha256: Annotated[SecretStr, AfterValidator(_hexadecimal)] | None = Field(
        None, description="SHA-256 of the token in hexadecimal, as custode token prints it"
    )
    role: RoleName = Field("viewer", description="what its holder may: read; act as an operator; reload as well")
    expires: Annotated[datetime, AfterValidator(_in_utc)] | None = Field(
        None, description="moment from which it counts no more, such as 2027-01-31; null: it does not expire"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> TokenSettings:
        if (self.token is None) == (self.sha256 is None):
            raise ValueError("needs one of token and sha256")
        return self


class AccessSettings(Strict):
    """Without a user, a token or an operator's token, reading is open to all who reach the address."""

    config_file: Path | None = Field(
        None, description="web.yml in Prometheus's format: TLS, users with bcrypt passwords, headers; null: none"
    )
    insecure: bool = Field(
        False, description="listen on an address that others reach although anybody there could read"
    )
    anonymous: bool = Field(False, description="reading needs nobody to be known, although there are users or tokens")
    hosts: tuple[Annotated[str, Field(pattern=_HOST)], ...] = Field(
        (), description="names by which clients reach Custode, beside localhost, addresses, listen and external_url"
    )
    trusted_proxies: tuple[_Network, ...] = Field(
        (), description="addresses and networks of proxies, whose X-Forwarded-For says where a client is; others' never"
    )
    roles: Mapping[_Name, RoleName] = Field(
        default={}, description="roles of users and operators, for signed webhooks too; else operator, viewer for users"
    )
    tokens: Mapping[_Name, TokenSettings] = Field(default={}, description="bearer tokens of programs and people")
    attempts: Annotated[int, Field(ge=1)] = Field(
        10, description="failed sign-ins of one address in a minute, before it must wait"
    )
    session: Annotated[Duration, Field(ge=timedelta(minutes=1))] = Field(
        timedelta(hours=12), description="a browser that does nothing for so long is signed out; each one after 7 days"
    )
