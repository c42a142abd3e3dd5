"""Bytes of S3 objects: extents of files without a name, which copies and completed uploads share."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

CHUNK_BYTES = 1 << 20
# Smaller bodies stay in memory: a bucket may have more objects than a process may have open files.
IN_MEMORY_BYTES = 256 << 10


class Source(Protocol):
    """Storage with random access."""

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes."""


@dataclass(frozen=True)
class Memory:
    """Bytes of a small object."""

    data: bytes

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes."""
        return self.data[offset : offset + size]


class Arena:
    """A file without a name, shared by the parts of one upload, so that 10,000 parts need one descriptor."""

    def __init__(self) -> None:
        # Closed when the last object whose bytes are in it is gone.
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        self._end = 0
        self._lock = threading.Lock()

    def write(self, data: bytes, extent: Extent, offset: int) -> None:
        """Write into a reserved extent."""
        view, position = memoryview(data), extent.start + offset
        while view:
            written = os.pwrite(self._file.fileno(), view, position)
            view, position = view[written:], position + written

    def reserve(self, size: int) -> Extent:
        """Return an extent that no other writer gets."""
        with self._lock:
            start, self._end = self._end, self._end + size
        return Extent(self, start, size)

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes."""
        return os.pread(self._file.fileno(), size, offset)


@dataclass(frozen=True)
class Extent:
    """A range of a source, in bytes."""

    source: Source
    start: int
    size: int


class Content:
    """The bytes of one object, with as much of a file's interface as moto uses.

    :param extents: never written to again: readers may go on after the object is deleted.
    """

    def __init__(self, extents: Sequence[Extent] = ()) -> None:
        self.extents = tuple(extent for extent in extents if extent.size)
        self.size = sum(extent.size for extent in self.extents)
        self._position = 0

    @classmethod
    def of(cls, data: bytes) -> Content:
        """Return bytes as content; a large amount goes to a file."""
        if len(data) <= IN_MEMORY_BYTES:
            return cls([Extent(Memory(data), 0, len(data))])
        arena = Arena()
        extent = arena.reserve(len(data))
        arena.write(data, extent, 0)
        return cls([extent])

    def slice(self, start: int, stop: int) -> Content:
        """Return the bytes from ``start`` up to ``stop``, without copying them."""
        parts, position = [], 0
        for extent in self.extents:
            low, high = max(start - position, 0), min(stop - position, extent.size)
            if low < high:
                parts.append(Extent(extent.source, extent.start + low, high - low))
            position += extent.size
        return Content(parts)

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes, at most ``CHUNK_BYTES`` at a time."""
        for extent in self.extents:
            for offset in range(0, extent.size, CHUNK_BYTES):
                yield extent.source.read(extent.start + offset, min(CHUNK_BYTES, extent.size - offset))

    def seek(self, position: int) -> None:
        """Set the position of the next ``read``."""
        self._position = position

    def read(self, size: int = -1) -> bytes:
        """Return the next ``size`` bytes; -1 means all that are left."""
        stop = self.size if size < 0 else min(self.size, self._position + size)
        data = b"".join(self.slice(self._position, stop).chunks())
        self._position = max(stop, self._position)
        return data

    def close(self) -> None:
        """Release the storage, once no reader uses it."""
        self.extents, self.size = (), 0
