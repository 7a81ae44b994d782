"""What is written in another way: percent signs, entities, escapes, base64, hexadecimal digits, compressed bytes."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
import zlib
from collections.abc import Iterator
from html import unescape
from urllib.parse import unquote

import zstandard

from fleet.data.scan.patterns import Pattern

_MOST_BYTES = 16 << 20  # that compressed bytes may grow to
_INVISIBLE = "\u00ad\u200b\u200c\u200d\u2060\ufeff"
_AT = Pattern(r"(?i) ?[\[({] ?(?:at|chiocciola) ?[\])}] ?")
_PERCENT = re.compile(r"%(?:40|2B|20|C3)", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#|commat;|nbsp;|plus;|amp;|[aeiou](?:grave|acute);)", re.IGNORECASE)
_ESCAPE = re.compile(r"\\u(00[0-9a-fA-F]{2})")
_HEXADECIMAL = Pattern(r"(?i)\\x(?:[0-9a-f]{2}){6,}|\b(?:[0-9a-f]{2}){8,}\b")
# of text it is never in small letters alone, as long words are
_BASE64 = Pattern(r"[a-z]*[A-Z0-9+/_-][A-Za-z0-9+/_-]{11,}={0,2}")
_STANDARD = str.maketrans("-_", "+/")
_READABLE = re.compile(r"[^\x00-\x08\x0e-\x1f\x7f-\x9f\ufffd]{6,}")


def plain(text: str) -> str:
    """The same with the usual characters for those that only look like them, and without those that nobody sees."""
    if not text.isascii():
        for character in _INVISIBLE:
            text = text.replace(character, "")
        text = unicodedata.normalize("NFKC", text)
    return _AT.replace("@", text)


def rewritten(text: str) -> Iterator[str]:
    """The text once more for each way of writing it that occurs in it."""
    if "%" in text and _PERCENT.search(text):
        yield plain(unquote(text))
    if "&" in text and _ENTITY.search(text):
        yield plain(unescape(text))
    if "\\u00" in text:
        yield plain(_ESCAPE.sub(lambda match: chr(int(match[1], 16)), text))


def packed(text: str) -> Iterator[tuple[int, str]]:
    """Readable text within it, with the place where it is packed."""
    for begin, value in _HEXADECIMAL.find(text):
        yield from ((begin, part) for part in readable(bytes.fromhex(value.lstrip("\\xX"))))
    for begin, value in _BASE64.find(text):
        token = value.rstrip("=").translate(_STANDARD)
        if len(token) % 4 == 1:
            continue
        try:
            content = base64.b64decode(token + "=" * (-len(token) % 4), validate=True)
        except binascii.Error:
            continue
        if (inside := _text_or_compressed(content)) is not None:
            yield from ((begin, part) for part in readable(inside))


def readable(content: bytes) -> list[str]:
    """The readable parts of bytes, once unpacked: of UTF-8, of UTF-16, of what is compressed."""
    content = _decompressed(content) or content
    if content.count(0) * 3 > len(content):
        content = content.replace(b"\0", b"")  # UTF-16 of Latin letters
    return ["\n".join(found)] if (found := _READABLE.findall(content.decode("utf-8", "replace"))) else []


def _text_or_compressed(content: bytes) -> bytes | None:
    """Nearly any long word can be read as base64; what comes out is seldom text."""
    if (inside := _decompressed(content)) is not None:
        return inside
    try:
        return content if content.replace(b"\0", b"").decode().isprintable() else None
    except UnicodeDecodeError:
        return None


def _decompressed(content: bytes) -> bytes | None:
    try:
        if content[:2] == b"\x1f\x8b" or (content[:1] == b"\x78" and int.from_bytes(content[:2], "big") % 31 == 0):
            return zlib.decompressobj(wbits=47).decompress(content, _MOST_BYTES)
        if content[:4] == b"\x28\xb5\x2f\xfd":
            return zstandard.ZstdDecompressor().stream_reader(content).read(_MOST_BYTES)
    except (zlib.error, zstandard.ZstdError):
        return None
    return None
