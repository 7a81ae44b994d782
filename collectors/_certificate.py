"""The certificate that a PostgreSQL server shows, read by a TLS handshake of our own."""

from __future__ import annotations

import asyncio
import ssl
import struct
from contextlib import suppress

from cryptography import x509

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # PostgreSQL protocol, "SSLRequest": length, code


async def certificate_expiry(host: str, port: int) -> float | None:
    """When the certificate of the server at `host` ends, in unix seconds; None where it offers no TLS.

    It is read, not verified: an expired or self-made one has an end too. No session is opened.

    Raises:
        OSError: the server cannot be reached (TimeoutError, ssl.SSLError are among them), or hangs up.
    """
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(_SSL_REQUEST)
        answer = await reader.read(1)
        if not answer:
            raise ConnectionResetError(f"{host}:{port} hangs up when asked for TLS")
        if answer != b"S":
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        await writer.start_tls(context, server_hostname=host)
        encoded = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
        with suppress(OSError):  # a reset would be a complaint in the server's log, so say goodbye, but do not insist
            await asyncio.wait_for(writer.wait_closed(), timeout=1)
    return x509.load_der_x509_certificate(encoded).not_valid_after_utc.timestamp()
