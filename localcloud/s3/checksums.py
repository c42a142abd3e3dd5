"""Checksums of S3 objects, as headers carry them: Base64 of the digest, and of CRC32 in big-endian order."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterable, Sequence
from typing import Protocol

# CRC32C and CRC64NVME need a compiled library, and are accepted without a check.
COMPUTED = ("CRC32", "SHA1", "SHA256")
_POLYNOMIAL = 0xEDB88320


class Hash(Protocol):
    """The part of hashlib's interface that is used here."""

    def update(self, data: bytes, /) -> None:
        """Add bytes."""

    def digest(self) -> bytes:
        """Return the checksum of all bytes so far."""


class Crc32:
    """CRC32 with hashlib's interface."""

    def __init__(self) -> None:
        self.value = 0

    def update(self, data: bytes) -> None:
        """Add bytes."""
        self.value = zlib.crc32(data, self.value)

    def digest(self) -> bytes:
        """Return the checksum of all bytes so far."""
        return self.value.to_bytes(4, "big")


def new(algorithm: str) -> Hash:
    """Return an empty checksum of one of the ``COMPUTED`` algorithms."""
    return Crc32() if algorithm == "CRC32" else hashlib.new(algorithm, usedforsecurity=False)


def encode(digest: bytes) -> str:
    """Return a digest as headers carry it."""
    return base64.b64encode(digest).decode()


def of_chunks(algorithm: str, chunks: Iterable[bytes]) -> str:
    """Return the checksum of bytes that come in chunks."""
    checksum = new(algorithm)
    for chunk in chunks:
        checksum.update(chunk)
    return encode(checksum.digest())


def composite(algorithm: str, parts: Sequence[str]) -> str:
    """Return the checksum of the checksums of parts."""
    return of_chunks(algorithm, (base64.b64decode(part) for part in parts))


def combined_crc32(parts: Iterable[tuple[str, int]]) -> str:
    """Return the CRC32 of a whole object from checksum and size, in bytes, of each part."""
    total = 0
    for checksum, size in parts:
        total = combine(total, int.from_bytes(base64.b64decode(checksum), "big"), size)
    return encode(total.to_bytes(4, "big"))


def combine(first: int, second: int, size: int) -> int:
    """Return the CRC32 of two blocks joined; ``size`` is that of the second, in bytes."""
    # As in zlib's crc32_combine: the first checksum times x^(8 size), modulo the polynomial, by repeated squaring.
    power, factor = 1 << 31, 1 << 23
    while size:
        if size & 1:
            power = _multiply(factor, power)
        factor, size = _multiply(factor, factor), size >> 1
    return _multiply(power, first) ^ second


def _multiply(left: int, right: int) -> int:
    """Multiply two polynomials with reflected bits, modulo that of CRC32."""
    product, bit = 0, 1 << 31
    while bit:
        if left & bit:
            product ^= right
        right = (right >> 1) ^ (_POLYNOMIAL if right & 1 else 0)
        bit >>= 1
    return product
