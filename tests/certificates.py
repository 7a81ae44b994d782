"""Certificates for servers that speak TLS in tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

EXPIRY = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)


def make_certificate(directory: Path) -> None:
    """A self-made certificate for 127.0.0.1 that ends at EXPIRY, as `server.crt` and `server.key`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(EXPIRY - timedelta(days=3650)).not_valid_after(EXPIRY)
    pem = serialization.Encoding.PEM
    (directory / "server.crt").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
    secret = directory / "server.key"
    secret.touch(mode=0o600)
    secret.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
