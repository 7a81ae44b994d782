"""The form of an encrypted object: AES-256-GCM in segments, so that a stream of any size is sealed as it passes.

    magic "CUSTODE" | version 1 (1 byte) | key id (8) | salt (32) | segments

Each object has a key of its own: HKDF-SHA256 of the store's key and the salt. Each segment holds 1 MiB of content (the
last one what is left, also nothing) and a tag of 16 bytes. Its nonce is 7 zero bytes, the number of the segment from 0
(4 bytes, big-endian), and 1 in the last one, else 0; what is authenticated beside it is the header and the object's
key (name) in the store. This is the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár (2015): segments
cannot be cut off, reordered, or taken from another object or place.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fleet.errors import StoreError

SEGMENT_BYTES = 1 << 20
_TAG_BYTES = 16
SEALED_BYTES = SEGMENT_BYTES + _TAG_BYTES
_MAGIC = b"CUSTODE"
_VERSION = 1
_ID_BYTES = 8
_SALT_BYTES = 32
_START = _MAGIC + bytes([_VERSION])
HEADER_BYTES = len(_START) + _ID_BYTES + _SALT_BYTES
_DAMAGED = "another copy may have it whole"


def key_id(key: bytes) -> bytes:
    """8 bytes that tell keys apart, and tell nothing of them."""
    return _derive(key, None, b"custode key id", _ID_BYTES)


def plain_size(sealed: int) -> int:
    """Bytes of content in a sealed object of that many bytes; 0 for what is too short to be one."""
    body = max(sealed - HEADER_BYTES, _TAG_BYTES)
    return body - _TAG_BYTES * -(-body // SEALED_BYTES)


def seal(key: bytes, name: str, content: bytes | bytearray) -> bytes:
    """A whole object."""
    sealer = Sealer(key, name)
    last = max(len(content) - 1, 0) // SEGMENT_BYTES
    view = memoryview(content)
    segments = (
        sealer.seal(view[number * SEGMENT_BYTES : (number + 1) * SEGMENT_BYTES], last=number == last)
        for number in range(last + 1)
    )
    return b"".join((sealer.header, *segments))


class _Segments:
    """Counts the segments of one object: each has a nonce of its own, and the last one is marked."""

    def __init__(self, key: bytes, name: str, header: bytes) -> None:
        self._cipher = AESGCM(_derive(key, header[-_SALT_BYTES:], b"custode object", len(key)))
        self._beside = header + name.encode()
        self._number = 0

    def _nonce(self, *, last: bool) -> bytes:
        nonce = bytes(7) + self._number.to_bytes(4, "big") + bytes([last])
        self._number += 1
        return nonce


class Sealer(_Segments):
    """Seals the segments of one object, in order."""

    def __init__(self, key: bytes, name: str) -> None:
        self.header = _START + key_id(key) + os.urandom(_SALT_BYTES)
        super().__init__(key, name, self.header)

    def seal(self, segment: bytes | memoryview, *, last: bool) -> bytes:
        return self._cipher.encrypt(self._nonce(last=last), segment, self._beside)


class Opener(_Segments):
    """Opens the segments of one object, in order.

    Raises:
        StoreError: the header is none, of a later version, or of another key.
    """

    def __init__(self, key: bytes, name: str, header: bytes) -> None:
        _check(key, name, header)
        self._name = name
        super().__init__(key, name, header)

    def open(self, segment: bytes, *, last: bool) -> bytes:
        """Raises StoreError: it is not what was sealed."""
        try:
            return self._cipher.decrypt(self._nonce(last=last), segment, self._beside)
        except InvalidTag:
            raise StoreError(
                f"{self._name} is damaged: segment {self._number - 1} is not what was sealed", hint=_DAMAGED
            ) from None


def _check(key: bytes, name: str, header: bytes) -> None:
    if not header.startswith(_MAGIC):
        raise StoreError(
            f"{name} is not encrypted", hint="stored before encryption_key was set? Read it by a store without one"
        )
    if len(header) < HEADER_BYTES:
        raise StoreError(f"{name} is damaged: it ends in its header", hint=_DAMAGED)
    if header[len(_MAGIC)] != _VERSION:
        raise StoreError(f"{name} is sealed in version {header[len(_MAGIC)]}, unknown here", hint="update Custode")
    sealed_by = header[len(_START) : -_SALT_BYTES]
    if sealed_by != key_id(key):
        raise StoreError(
            f"{name} is sealed with the key {sealed_by.hex()}, encryption_key is {key_id(key).hex()}",
            hint="set the encryption_key that it was stored with",
        )


def _derive(key: bytes, salt: bytes | None, purpose: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt, purpose).derive(key)
