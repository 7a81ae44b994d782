"""web.yml in Prometheus's format, whose own judge is `promtool check web-config`.

Keys and defaults are those of https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md;
what Python's ssl cannot do is refused, not passed over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from daemon.config._document import MAX_BYTES, DocumentError, location_text, read_document
from daemon.config._models import anchored
from daemon.config._problems import ConfigError, Problem, Problems
from fleet.durations import Duration
from fleet.policy import Strict

ClientAuth = Literal["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"]
TlsVersion = Literal["TLS10", "TLS11", "TLS12", "TLS13"]
CURVES: Mapping[str, str] = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
# Go's names of what may be chosen up to TLS 1.2, and OpenSSL's
CIPHERS: Mapping[str, str] = {
    f"TLS_ECDHE_{key}_WITH_{go}": f"ECDHE-{key}-{openssl}"
    for key in ("ECDSA", "RSA")
    for go, openssl in (
        ("AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
        ("AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
        ("CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305"),
        ("CHACHA20_POLY1305", "CHACHA20-POLY1305"),
        ("AES_128_CBC_SHA", "AES128-SHA"),
        ("AES_256_CBC_SHA", "AES256-SHA"),
    )
}
ALWAYS_THERE = frozenset({"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"})
_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")
_UNREADABLE = "cannot be read"


def _bcrypt(password: SecretStr) -> SecretStr:
    if not _BCRYPT.fullmatch(password.get_secret_value()):
        raise ValueError("is no bcrypt hash; custode token --password NAME makes one")
    return password


def _known_cipher(name: str) -> str:
    if name not in CIPHERS and name not in ALWAYS_THERE:
        raise ValueError(f"is none that can be chosen; known are: {', '.join(CIPHERS)}")
    return name


class WebTls(Strict):
    cert_file: Path
    key_file: Path
    client_auth_type: ClientAuth = "NoClientCert"
    client_ca_file: Path | None = None
    client_allowed_sans: tuple[str, ...] = ()
    min_version: TlsVersion = "TLS12"
    max_version: TlsVersion = "TLS13"
    cipher_suites: tuple[Annotated[str, AfterValidator(_known_cipher)], ...] = ()
    prefer_server_cipher_suites: bool = True
    curve_preferences: Annotated[
        tuple[Literal["CurveP256", "CurveP384", "CurveP521", "X25519"], ...], Field(max_length=1)
    ] = ()

    @model_validator(mode="after")
    def _certificates_are_judged(self) -> WebTls:
        if (self.client_auth_type == "NoClientCert") != (self.client_ca_file is None):
            raise ValueError("client_ca_file and a client_auth_type that verifies need each other")
        if self.client_allowed_sans and self.client_auth_type == "NoClientCert":
            raise ValueError("client_allowed_sans needs a client_auth_type that verifies")
        if self.min_version > self.max_version:
            raise ValueError("min_version is above max_version")
        return self


class WebHttp(Strict):
    http2: bool = True
    headers: Mapping[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,100}$")], Annotated[str, Field(pattern=r"^[\x20-\x7e]*$")]
    ] = Field(default={})

    @property
    def told_http2(self) -> bool:
        """Whether it asks for HTTP/2 in so many words; what is served is HTTP/1.1."""
        return self.http2 and "http2" in self.model_fields_set


class WebRate(Strict):
    """One request each `interval`, and `burst` at once; an interval of 0 bounds nothing."""

    interval: Annotated[Duration, Field(ge=timedelta(0))] = timedelta(0)
    burst: Annotated[int, Field(ge=1, le=1_000_000)] = 1


class WebConfig(Strict):
    tls_server_config: WebTls | None = None
    http_server_config: WebHttp = WebHttp()
    basic_auth_users: Mapping[
        Annotated[str, Field(pattern=r"^[^:\x00-\x1f\x7f]{1,128}$")], Annotated[SecretStr, AfterValidator(_bcrypt)]
    ] = Field(default={})
    rate_limit: WebRate = WebRate()

    @property
    def users(self) -> Mapping[str, str]:
        """Names, and the bcrypt hashes of their passwords."""
        return {name: password.get_secret_value() for name, password in self.basic_auth_users.items()}


def read_web_config(path: Path) -> WebConfig:
    """Read web.yml; relative paths in it begin at its folder. Blocks.

    Raises:
        ConfigError: it cannot be read or used; all its problems at once, and no value of it.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigError(path, [Problem("", None, f"is larger than {MAX_BYTES // 1024} KiB")])
        document = read_document(content.decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(path, [Problem("", None, f"{_UNREADABLE}: {error.strerror}")]) from error
    except UnicodeDecodeError:
        raise ConfigError(path, [Problem("", None, "is not UTF-8 text")]) from None
    except DocumentError as error:
        raise ConfigError(path, [Problem(location_text(error.at), error.line, error.message, error.hint)]) from None
    problems = Problems(document)
    for at, line in document.doubled:
        problems.found.append(Problem(location_text(at), line, "is written twice"))
    found = problems.validate(WebConfig, problems.mapping(document.value, ()), ())
    if problems.found or found is None:
        raise ConfigError(path, problems.found)
    return anchored(found, path.absolute().parent)
