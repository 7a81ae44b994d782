"""TLS as web.yml wants it."""

from __future__ import annotations

import ssl
from collections.abc import Collection, Mapping
from typing import Any

from daemon.web.access.web_config import CIPHERS, CURVES, WebTls
from fleet.errors import ConfigError

_VERSIONS: Mapping[str, ssl.TLSVersion] = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
_CLIENTS: Mapping[str, ssl.VerifyMode] = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


def make_context(wanted: WebTls) -> ssl.SSLContext:
    """What a server speaks TLS with. Blocks. Raises ConfigError, which names the files and quotes none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    if wanted.prefer_server_cipher_suites:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    try:
        context.minimum_version = _VERSIONS[wanted.min_version]
        context.maximum_version = _VERSIONS[wanted.max_version]
        if ciphers := [CIPHERS[name] for name in wanted.cipher_suites if name in CIPHERS]:
            context.set_ciphers(":".join(dict.fromkeys(ciphers)))
        for curve in wanted.curve_preferences:
            context.set_ecdh_curve(CURVES[curve])
    except (OSError, ValueError) as error:
        raise ConfigError(f"this machine's OpenSSL cannot do what tls_server_config wants: {_told(error)}") from None
    try:
        # without this, a key with a passphrase would ask for it on the terminal
        context.load_cert_chain(wanted.cert_file, wanted.key_file, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the certificate {wanted.cert_file} cannot be used with the key {wanted.key_file}: {_told(error)}",
            hint="are these PEM files that fit each other, and may the daemon read them?",
        ) from None
    if wanted.client_ca_file is not None:
        try:
            context.load_verify_locations(wanted.client_ca_file)
        except (OSError, ValueError) as error:
            raise ConfigError(f"client_ca_file {wanted.client_ca_file} cannot be used: {_told(error)}") from None
    context.verify_mode = _CLIENTS[wanted.client_auth_type]
    return context


def names_fit(certificate: Mapping[str, Any] | None, allowed: Collection[str]) -> bool:
    """Whether a verified certificate of a client holds one of the allowed names (its subjectAltName)."""
    names = (certificate or {}).get("subjectAltName", ())
    return any(value in allowed for _kind, value in names)


def _told(error: OSError | ValueError) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or "it is not in PEM format"
