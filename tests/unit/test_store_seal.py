"""The form of an encrypted object: nothing of it can be changed, moved, cut or read with another key."""

from __future__ import annotations

import os
from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import StoreError
from fleet.stores._seal import HEADER_BYTES, SEALED_BYTES, SEGMENT_BYTES, Opener, key_id, plain_size, seal
from fleet.stores._sealed import read_key

KEY, OTHER = bytes(range(32)), bytes(32)
EDGES = (0, 1, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, 2 * SEGMENT_BYTES, 2 * SEGMENT_BYTES + 7)


def unseal(sealed: bytes, name: str = "a/x", key: bytes = KEY) -> bytes:
    opener = Opener(key, name, sealed[:HEADER_BYTES])
    rest = sealed[HEADER_BYTES:]
    starts = range(0, max(len(rest), 1), SEALED_BYTES)
    return b"".join(
        opener.open(rest[start : start + SEALED_BYTES], last=start + SEALED_BYTES >= len(rest)) for start in starts
    )


@pytest.mark.parametrize("size", EDGES)
def test_what_is_sealed_is_opened_and_its_size_known(size: int) -> None:
    content = os.urandom(size)
    sealed = seal(KEY, "a/x", content)
    assert unseal(sealed) == content
    assert plain_size(len(sealed)) == size
    if size > 8:
        assert content[:8] not in sealed


@given(st.integers(0, 5 * SEGMENT_BYTES))
def test_the_plain_size_of_every_sealed_size(size: int) -> None:
    segments = max(1, -(-size // SEGMENT_BYTES))
    assert plain_size(HEADER_BYTES + size + 16 * segments) == size


def test_an_object_as_its_description_says() -> None:
    """Opened by the words of the module alone, so that anybody can."""
    content = os.urandom(SEGMENT_BYTES + 5)
    sealed = seal(KEY, "a/x", content)
    header, body = sealed[:48], sealed[48:]
    assert header[:8] == b"CUSTODE\x01"
    assert header[8:16] == HKDF(SHA256(), 8, None, b"custode key id").derive(KEY) == key_id(KEY)
    cipher = AESGCM(HKDF(SHA256(), 32, header[16:], b"custode object").derive(KEY))
    first = cipher.decrypt(bytes(7) + b"\0\0\0\0\0", body[: (1 << 20) + 16], header + b"a/x")
    second = cipher.decrypt(bytes(7) + b"\0\0\0\1\1", body[(1 << 20) + 16 :], header + b"a/x")
    assert first + second == content


def test_equal_contents_are_sealed_differently() -> None:
    one, two = seal(KEY, "x", b"same"), seal(KEY, "x", b"same")
    assert one[HEADER_BYTES:] != two[HEADER_BYTES:]


@given(st.data())
def test_any_flipped_bit_is_found(data: st.DataObject) -> None:
    sealed = bytearray(seal(KEY, "a/x", b"some content"))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(StoreError):
        unseal(bytes(sealed))


@given(st.integers(1, 75))
def test_a_short_object_cut_anywhere_is_found(count: int) -> None:
    sealed = seal(KEY, "a/x", b"some content")
    assert len(sealed) == 76
    with pytest.raises(StoreError):
        unseal(sealed[:-count])


def test_segments_cut_off_repeated_or_reordered_are_found() -> None:
    sealed = seal(KEY, "a/x", os.urandom(3 * SEGMENT_BYTES))
    header = sealed[:HEADER_BYTES]
    one, two, three = (sealed[HEADER_BYTES + n * SEALED_BYTES :][:SEALED_BYTES] for n in range(3))
    assert len(unseal(header + one + two + three)) == 3 * SEGMENT_BYTES
    for body in (one, one + two, two + three, one + three, two + one + three, one + two + two + three, b""):
        with pytest.raises(StoreError, match="a/x is damaged: segment"):
            unseal(header + body)


def test_an_object_under_another_name_or_in_another_header_is_found() -> None:
    sealed, other = seal(KEY, "a/x", b"content"), seal(KEY, "a/x", b"content")
    with pytest.raises(StoreError, match="a/y is damaged"):
        unseal(sealed, "a/y")
    with pytest.raises(StoreError, match="a/x is damaged"):
        unseal(other[:HEADER_BYTES] + sealed[HEADER_BYTES:])


def test_another_key_is_named_but_not_shown() -> None:
    with pytest.raises(StoreError, match="sealed with the key") as raised:
        unseal(seal(KEY, "a/x", b"content"), key=OTHER)
    assert key_id(KEY).hex() in raised.value.message
    assert key_id(OTHER).hex() in raised.value.message
    assert KEY.hex() not in str(raised.value)


@pytest.mark.parametrize(
    ("sealed", "said"),
    [(b"", "not encrypted"), (b"PGDMP...", "not encrypted"), (b"CUSTODE\x01abc", "ends in its header")],
)
def test_what_is_no_sealed_object_is_told(sealed: bytes, said: str) -> None:
    with pytest.raises(StoreError, match=said):
        unseal(sealed)


def test_a_later_version_is_told() -> None:
    with pytest.raises(StoreError, match="version 2"):
        unseal(b"CUSTODE\x02" + bytes(60))


@pytest.mark.parametrize("text", [KEY.hex(), KEY.hex().upper(), b64encode(KEY).decode(), f" {KEY.hex()}\n"])
def test_a_key_in_base64_or_hex(text: str) -> None:
    assert read_key(text) == KEY


@pytest.mark.parametrize("text", ["", "hunter2", KEY.hex()[2:], b64encode(KEY[1:]).decode(), "é" * 44, "=" * 44])
def test_no_key_is_told_and_not_quoted(text: str) -> None:
    with pytest.raises(StoreError, match="no key of 32 bytes") as raised:
        read_key(text)
    assert not text or text not in f"{raised.value} {raised.value.hint}"
