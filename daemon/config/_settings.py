"""The validated configuration: what the rest of the daemon is handed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializeAsAny,
    ValidationInfo,
    model_validator,
)
from pydantic_core import to_jsonable_python

from collectors import Collector
from daemon.config._access import AccessSettings
from daemon.config._actions import Limits, OperatorsByName
from daemon.config._alertmanager import AlertmanagerSettings
from daemon.config._document import Location
from daemon.config._dsn import masked
from daemon.config._heartbeat import HeartbeatSettings
from daemon.config._models import walk
from daemon.data_dir import default_data_dir
from fleet.data.decisions import TableDecision
from fleet.durations import Duration, format_duration
from fleet.environment import Environment
from fleet.policy import Strict
from fleet.secrets import SecretText

# whoever holds it has checked everything: handed to pydantic as the context of a validation
VALIDATED = object()


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the HTTP server binds; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _listen(value: object) -> Listen:
    if isinstance(value, Listen):
        return value
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:\[\]/@]+)):(\d{1,5})", str(value))
    if match is None or int(match[3]) > 65535:
        raise ValueError("is no address; write it like 127.0.0.1:9188 or [::1]:9188")
    return Listen(match[1] or match[2], int(match[3]))


def at_least_a_second(value: timedelta) -> timedelta:
    if value < timedelta(seconds=1):
        raise ValueError("must be at least 1s")
    return value


class RuleSettings(Strict):
    """Which Prometheus rule files are evaluated."""

    shipped: bool = Field(True, description="evaluate the rules that come with Custode")
    files: tuple[str, ...] = Field((), description="your own rule files; paths with * and ** relative to this file")
    interval: Annotated[Duration, AfterValidator(at_least_a_second)] = Field(
        timedelta(seconds=15), description="how often a group is evaluated that sets no interval"
    )

    promql_compat: Literal[2, 3] = Field(3, description="evaluate as Prometheus 3 does, or as 2 did")
    experimental_functions: bool = Field(False, description="allow the functions that Prometheus has behind a flag")
    history: Annotated[Duration, AfterValidator(at_least_a_second)] = Field(
        timedelta(minutes=6), description="history of every metric to keep, for queries; rules keep what they read"
    )
    sample_limit: Annotated[int, Field(gt=0)] = Field(
        50_000_000, description="samples to keep at most, 8 bytes each; what is beyond is refused"
    )

    def paths(self) -> dict[str, list[Path]]:
        """The files that each pattern of `files` matches now, in order of name."""
        found = {pattern: sorted(Path("/").glob(pattern.lstrip("/"))) for pattern in self.files}
        return {pattern: [path for path in paths if path.is_file()] for pattern, paths in found.items()}


class StateSettings(Strict):
    """Where the daemon keeps its own state."""

    url: SecretText | None = Field(
        None,
        description="database of the daemon's own state, one for all daemons of a fleet: a reference, or a URL that"
        " may hold ${env:NAME}; null: an embedded server below data_dir",
    )


class LogSettings(Strict):
    format: Literal["console", "json"] = Field("console", description="for people, or one JSON object a line")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="the least that is logged")


class StoreSettings(Strict):
    """A backup store: the plugin's name, its validated `Options`, and what every store may have beside them."""

    type: str
    options: SerializeAsAny[Strict]
    encryption_key: SecretText | None = Field(
        None, description="encrypts what is stored (AES-256-GCM): 32 bytes in base64 or hex; null: nothing is encrypted"
    )


class Basics(Strict):
    """The keys of the configuration that stand for themselves."""

    data_dir: Path = Field(
        default_factory=default_data_dir, description="what Custode keeps: its state, backups of the local store"
    )
    listen: Annotated[Listen, BeforeValidator(_listen), PlainSerializer(str)] = Field(
        Listen("127.0.0.1", 9188),
        description="address of /metrics, the status page and the API; port 0 takes a free one",
    )
    external_url: Annotated[str, Field(pattern=r"^https?://[^\s@?#]+$")] | None = Field(
        None, description="address at which people reach Custode, for links in messages; null: that of listen"
    )
    client_tools: Path | None = Field(
        None, description="folder of pg_dump and its like; null: the newest on the PATH or in the embedded server"
    )
    schema_reference: str | None = Field(
        None, description="environment that sets the schema; null: the only one of tier production"
    )
    state: StateSettings = StateSettings()
    rules: RuleSettings = RuleSettings()
    log: LogSettings = LogSettings()
    actions: Limits = Limits()
    alertmanager: AlertmanagerSettings = AlertmanagerSettings()
    heartbeat: HeartbeatSettings = HeartbeatSettings()
    access: AccessSettings = AccessSettings()
    operators: OperatorsByName = Field(
        default={},
        description="people who may ask and approve; none: over the control socket, the daemon's account and root",
    )


class Settings(Basics):
    """The whole configuration. Only `load` and `parse` make one, so that nothing unchecked can be passed around."""

    source: Path
    environments: Mapping[str, Environment]
    collectors: Mapping[str, SerializeAsAny[Collector.Options]]
    stores: Mapping[str, StoreSettings]
    notifiers: Mapping[str, SerializeAsAny[Strict]]

    @model_validator(mode="before")
    @classmethod
    def _only_when_checked(cls, data: Any, info: ValidationInfo) -> Any:
        if info.context is not VALIDATED:
            raise TypeError("Settings are made by daemon.config.load or parse")
        return data

    def __repr__(self) -> str:
        return f"Settings({str(self.source)!r}, environments={list(self.environments)})"

    __str__ = __repr__

    def secrets(self) -> Iterator[tuple[Location, SecretText]]:
        """Every text that is or holds a secret, and where in the configuration it stands."""
        for at, value in walk(self):
            if isinstance(value, SecretText):
                # the options of a store stand beside its type
                yield tuple(step for step in at if step != "options" or at[0] != "stores"), value

    def holds_plain_secrets(self) -> bool:
        """Whether a secret itself stands in the configuration, not only references."""
        return any(
            "***" in masked(text.raw) if _is_database_url(at) else not text.references for at, text in self.secrets()
        )

    def redacted(self) -> dict[str, Any]:
        """The configuration for display, ready for JSON. References are shown, secrets are `***`."""
        shown: dict[str, Any] = _shown(self)
        for name, environment in self.environments.items():
            shown["environments"][name]["dsn"] = masked(environment.dsn.raw)
        if self.state.url is not None:
            shown["state"]["url"] = masked(self.state.url.raw)
        return shown


def _is_database_url(at: Location) -> bool:
    return at == ("state", "url") or (at[0] == "environments" and at[-1] == "dsn")


def _shown(value: object) -> Any:
    match value:
        case StoreSettings():
            shown = {"type": value.type, "encryption_key": _shown(value.encryption_key)} | _shown(value.options)
        case BaseModel():
            shown = {name: _shown(getattr(value, name)) for name in type(value).model_fields}
        case Mapping():
            shown = {str(name): _shown(part) for name, part in value.items()}
        case list() | tuple():
            shown = [_shown(part) for part in value]
        case TableDecision():
            shown = value.written()
        case SecretText():
            shown = value.raw if value.is_reference else "***"
        case Listen():
            shown = str(value)
        case timedelta():
            shown = format_duration(value)
        case str() if "://" in value:
            shown = masked(value)
        case _:
            shown = to_jsonable_python(value, fallback=str)
    return shown
