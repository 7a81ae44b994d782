"""The Alertmanagers that page people, and how they are told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from fleet.durations import Duration
from fleet.policy import Strict
from fleet.secrets import SecretText

_Label = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]


def _reference(secret: SecretText) -> SecretText:
    if not secret.references:
        raise ValueError("holds a secret in plain text; write env:NAME, file:/path, awssm:name or vault:mount/path#key")
    return secret


Reference = Annotated[SecretText, AfterValidator(_reference)]


class AlertmanagerSettings(Strict):
    """Every alert goes to all of them, never through a load balancer: they agree on who notifies."""

    urls: tuple[Annotated[str, Field(pattern=r"^https?://[^\s@?#]+$")], ...] = Field(
        (), description="addresses, such as http://alertmanager:9093; none: nobody is paged"
    )
    token: Reference | None = Field(None, description="reference to a bearer token; null: none is sent")
    user: str | None = Field(None, description="user for basic authentication; null: none is sent")
    password: Reference | None = Field(None, description="reference to the password of the user")
    ca_file: Path | None = Field(None, description="certificate authority of https addresses; null: the system's")
    timeout: Duration = Field(timedelta(seconds=10), gt=timedelta(0), description="for one request")
    resend: Duration = Field(
        timedelta(minutes=1), ge=timedelta(seconds=1), description="how often what still fires is told again"
    )
    labels: Mapping[_Label, str] = Field(
        default={}, description="labels that every alert gets beside its own, such as cluster: eu"
    )
    hold: Duration = Field(
        timedelta(0),
        ge=timedelta(0),
        description="how long an alert does not page while its automatic action works on it; if that fails, at once",
    )
    capacity: int = Field(10_000, ge=1, description="alerts that wait for one Alertmanager at most; the oldest go")
