"""Signatures of webhooks, in and out, as https://www.standardwebhooks.com has them: HMAC-SHA256 of id, time and body.

The headers are webhook-id (the same for the same event), webhook-timestamp (unix seconds) and webhook-signature.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

TOLERANCE_SECONDS = 300.0
_PREFIX = "whsec_"
_LONGEST_ID = 200


class SignatureError(ValueError):
    """A webhook that nobody who knows the secret has sent just now; the text says why."""


def signed(secret: str, message_id: str, at: float, body: bytes) -> dict[str, str]:
    """The headers of a webhook sent at `at` (unix seconds)."""
    stamp = str(int(at))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{_signature(secret, message_id, stamp, body)}",
    }


def verify(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> str:
    """The id of a webhook that is what it says. The same again within 5 minutes is told by its id alone.

    Raises:
        SignatureError: it is not, or it is too old or of the future.
    """
    message_id, stamp, given = claimed(headers, now)
    expected = f"v1,{_signature(secret, message_id, stamp, body)}".encode()
    # several while a secret is changed
    matches = [hmac.compare_digest(expected, one.encode("utf-8", "surrogateescape")) for one in given.split(" ")]
    if not any(matches):
        raise SignatureError("webhook-signature is wrong")
    return message_id


def claimed(headers: Mapping[str, str], now: float) -> tuple[str, str, str]:
    """The id, the timestamp and the signatures that a webhook says are its own: before its body is worth reading.

    Raises:
        SignatureError: they cannot be.
    """
    message_id, stamp, given = (headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not (message_id and stamp and given):
        raise SignatureError("the headers webhook-id, webhook-timestamp and webhook-signature are needed")
    if len(message_id) > _LONGEST_ID or not message_id.isascii() or not message_id.isprintable():
        raise SignatureError("webhook-id must be up to 200 printable characters")
    if not (stamp.isascii() and stamp.isdecimal() and len(stamp) <= 12):
        raise SignatureError("webhook-timestamp must be unix seconds")
    if abs(now - int(stamp)) > TOLERANCE_SECONDS:
        raise SignatureError("webhook-timestamp is more than 5 minutes away from now")
    return message_id, stamp, given


def _signature(secret: str, message_id: str, stamp: str, body: bytes) -> str:
    digest = hmac.new(_key(secret), f"{message_id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def _key(secret: str) -> bytes:
    """The bytes of a secret; with its prefix it is base64, as the standard has it."""
    if secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            pass
    return secret.encode()
