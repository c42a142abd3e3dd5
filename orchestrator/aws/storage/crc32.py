"""CRC32 of a whole from the checksums of its parts, as zlib's crc32_combine computes it."""

from __future__ import annotations

import base64
from collections.abc import Iterable

_POLYNOMIAL = 0xEDB88320


def encode(checksum: int) -> str:
    """Return a checksum as S3's headers carry it: big-endian, Base64."""
    return base64.b64encode(checksum.to_bytes(4, "big")).decode()


def combined(parts: Iterable[tuple[int, int]]) -> int:
    """Return the CRC32 of a whole from checksum and size, in bytes, of each part."""
    total = 0
    for checksum, size in parts:
        total = combine(total, checksum, size)
    return total


def combine(first: int, second: int, size: int) -> int:
    """Return the CRC32 of two blocks joined; ``size`` is that of the second, in bytes."""
    # The first checksum times x^(8 size), modulo the polynomial, by repeated squaring.
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
