"""Content of an upload as hosts request it: the list of files, then chunks of what a host lacks.

Each chunk is compressed once for all hosts, into a temporary file; what cannot be compressed, or is sent in less time
than compression takes, is read where it is.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
import threading
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from orchestrator.core.clock import Clock
from orchestrator.core.errors import HostError
from orchestrator.install.upload import Upload, UploadFile

CHUNK_BYTES = 1 << 20
SMALL_BYTES = 256 << 10
"""Smaller files are sent several to a chunk."""

SAMPLE_BYTES = 16 << 10
WORTHWHILE = 0.9
"""Largest ratio at which compression is worth its time."""

BUFFERED_BYTES = 3 << 20
"""Bytes that the window of an SSH channel (2 MiB in OpenSSH) and the buffers of a socket take."""

RECENT_BYTES = 16 << 20
"""Bytes after which earlier ones count half in the speed of a connection."""

MAX_SPOOL_BYTES = 4 << 30
"""Compressed chunks kept on disk; further ones are sent as they are."""

MAX_BITMAP_BYTES = 45_000
"""Of remote/parcel.py: contents beyond are always sent."""


Key = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Piece:
    """A part of a file: all of it, or a chunk of a large one."""

    file: UploadFile
    offset: int
    size_bytes: int

    def read(self) -> bytes:
        """Return its bytes; a file that has become shorter is padded, for the host expects the size in the list."""
        try:
            with self.file.path.open("rb", buffering=0) as file:
                data = os.pread(file.fileno(), self.size_bytes, self.offset)
        except FileNotFoundError:
            data = b""
        return data.ljust(self.size_bytes, b"\0")


@dataclass(frozen=True)
class Chunk:
    """Pieces that are compressed and sent together."""

    pieces: tuple[Piece, ...]

    @property
    def key(self) -> Key:
        """The contents that it is a part of."""
        return tuple((piece.file.digest, piece.offset) for piece in self.pieces)

    @property
    def size_bytes(self) -> int:
        """Its size before compression."""
        return sum(piece.size_bytes for piece in self.pieces)

    def read(self) -> bytes:
        """Return its bytes."""
        return b"".join(piece.read() for piece in self.pieces)


def chunks(files: Iterable[UploadFile]) -> Iterator[Chunk]:
    """Yield the content of files in chunks, in their order; equal contents once."""
    return _packed(_pieces(files))


def _packed(parts: Iterable[Piece]) -> Iterator[Chunk]:
    pieces: list[Piece] = []
    size_bytes = 0
    for piece in parts:
        if pieces and size_bytes + piece.size_bytes > SMALL_BYTES:
            yield Chunk(tuple(pieces))
            pieces, size_bytes = [], 0
        pieces.append(piece)
        size_bytes += piece.size_bytes
    if pieces:
        yield Chunk(tuple(pieces))


def _pieces(files: Iterable[UploadFile]) -> Iterator[Piece]:
    first: dict[str, UploadFile] = {}
    for file in files:
        if not file.link and first.setdefault(file.digest, file) is file:
            for offset in range(0, file.size_bytes, CHUNK_BYTES):
                yield Piece(file, offset, min(CHUNK_BYTES, file.size_bytes - offset))


class LinkSpeed:
    """Speed of one connection, as measured while an upload is sent."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._unmeasured_bytes = BUFFERED_BYTES
        self._bytes, self._seconds = 0.0, 0.0

    @property
    def s_per_byte(self) -> float:
        """Seconds for a byte; 0 while that is not known."""
        return self._seconds / self._bytes if self._bytes else 0.0

    def add(self, count_bytes: int, seconds: float) -> None:
        """Note bytes that the connection has accepted."""
        # Buffers accept the first ones at once, whatever the connection.
        if self._unmeasured_bytes > 0:
            self._unmeasured_bytes -= count_bytes
            return
        if self._bytes > RECENT_BYTES:
            self._bytes, self._seconds = self._bytes / 2, self._seconds / 2
        self._bytes, self._seconds = self._bytes + count_bytes, self._seconds + seconds


class Spool:
    """Chunks compressed once for all hosts, in a temporary file; safe to use from many threads.

    :param folder: folder of the temporary file, which has no name there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._size_bytes = 0
        # Place in the file of each chunk; None: it is sent as it is.
        self._places: dict[Key, tuple[int, int] | None] = {}
        # Of what was compressed.
        self._compress_s, self._saved_bytes = 0.0, 0
        self._lock = threading.Lock()

    def frame(self, chunk: Chunk, link: LinkSpeed) -> bytes:
        """Return a chunk as remote/parcel.py reads it: a line with length and form, then that many bytes."""
        place = self._place(chunk, link.clock) if self._is_worthwhile(link) else None
        if place is None:
            return b"%d raw\n" % chunk.size_bytes + chunk.read()
        assert self._file
        start, length = place
        return b"%d zlib\n" % length + os.pread(self._file.fileno(), length, start)

    def _place(self, chunk: Chunk, clock: Clock) -> tuple[int, int] | None:
        # One at a time: hosts that come to the same chunk together would all compress it.
        with self._lock:
            key = chunk.key
            if key not in self._places:
                self._places[key] = self._append(chunk, clock)
            return self._places[key]

    def _is_worthwhile(self, link: LinkSpeed) -> bool:
        """Return True if compression takes less time than it saves on a connection, or either is not known yet."""
        saved_s = self._saved_bytes * link.s_per_byte
        return not saved_s or saved_s > self._compress_s

    def _append(self, chunk: Chunk, clock: Clock) -> tuple[int, int] | None:
        if self._size_bytes > MAX_SPOOL_BYTES:
            return None
        content = chunk.read()
        began = clock.monotonic()
        data = compress(content)
        if not data:
            return None
        self._compress_s += clock.monotonic() - began
        self._saved_bytes += len(content) - len(data)
        try:
            # Closed, and so removed, with the last reference to this object.
            self._file = self._file or tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
            if os.pwrite(self._file.fileno(), data, self._size_bytes) < len(data):
                return None
        except OSError:
            # No room for it: compression saves time only.
            return None
        start, self._size_bytes = self._size_bytes, self._size_bytes + len(data)
        return start, len(data)


def compress(data: bytes) -> bytes:
    """Return compressed data; nothing if that saves too little: images, archives and weights are dense already."""
    middle = len(data) // 2
    sample = data[middle : middle + SAMPLE_BYTES]
    if len(zlib.compress(sample, 1)) > WORTHWHILE * len(sample):
        return b""
    return zlib.compress(data, 1)


class Parcel:
    """One upload, for all hosts of an install.

    :param folder: folder of a temporary file.
    :param digests: of the pieces, if the content is on one of the hosts, and not on this computer.
    """

    def __init__(self, upload: Upload, folder: Path, digests: bytes | None = None) -> None:
        self.upload, self._digests = upload, digests
        self._spool = Spool(folder)
        # Digest of a large file -> those of its pieces.
        self._tables: dict[str, bytes] = {}
        self._lock = threading.Lock()

    @cached_property
    def listing(self) -> bytes:
        """The list of files as remote/parcel.py reads it: a line with its length, then that many bytes."""
        rows = (
            f"{file.name}\0{file.digest}\0{file.size_bytes}\0{file.mode}\0{file.mtime_ns}\0{file.link}\0"
            for file in self.upload.files
        )
        data = zlib.compress(os.fsencode("".join(rows)), 1)
        return b"%d\n" % len(data) + data

    def requested(self, bitmap: str) -> list[Chunk]:
        """Return the chunks that a host requests.

        :param bitmap: of the files that it lacks, as remote/parcel.py writes it.
        :raises ValueError: it is none.
        """
        return list(chunks(self.requested_files(bitmap)))

    def requested_files(self, bitmap: str) -> list[UploadFile]:
        """Return the files that a host requests, in the order of the list.

        :raises ValueError: it is no bitmap.
        """
        bits = base64.b64decode(bitmap, validate=True)
        return [file for number, file in enumerate(self.upload.files) if _is_set(bits, number)]

    @property
    def is_here(self) -> bool:
        """True if this computer has the content."""
        return self._digests is None

    @cached_property
    def pieces(self) -> list[Piece]:
        """All contents in pieces, as remote/pieces.py numbers them."""
        return list(_pieces(self.upload.files))

    def requested_pieces(self, bitmap: str) -> list[Piece]:
        """Return the pieces that a host requests.

        :raises ValueError: it is no bitmap.
        """
        bits = base64.b64decode(bitmap, validate=True)
        return [
            piece for piece, number in zip(self.pieces, range(8 * len(bits)), strict=False) if _is_set(bits, number)
        ]

    def piece_digests(self, files: Iterable[UploadFile]) -> bytes:
        """Return the digests of the pieces of those files that have several, as remote/pieces.py reads them.

        :raises HostError: a file has changed since the list was made.
        """
        if self._digests is not None:
            return self._digests
        large = {file.digest: file for file in files if not file.link and file.size_bytes > CHUNK_BYTES}
        return b"".join(self._table(file) for file in large.values())

    def _table(self, file: UploadFile) -> bytes:
        # One at a time: hosts that come together would all compute it.
        with self._lock:
            if file.digest not in self._tables:
                pieces = _pieces([file])
                self._tables[file.digest] = b"".join(hashlib.sha256(piece.read()).digest() for piece in pieces)
                # Otherwise pieces of one version would be kept under the digest of another.
                status = file.path.stat()
                if (status.st_size, status.st_mtime_ns) != (file.size_bytes, file.mtime_ns):
                    raise HostError(f"{file.name} has changed since its upload began", fix="upload it again")
            return self._tables[file.digest]

    @staticmethod
    def chunks_of(pieces: Iterable[Piece]) -> list[Chunk]:
        """Return pieces in the chunks in which they are sent."""
        return list(_packed(pieces))

    def frames(self, chunks: Iterable[Chunk], clock: Clock) -> Iterator[tuple[Chunk, bytes]]:
        """Yield chunks, each as it is sent over one connection, in the time of which the caller sends it."""
        link = LinkSpeed(clock)
        for chunk in chunks:
            frame = self._spool.frame(chunk, link)
            began = clock.monotonic()
            yield chunk, frame
            link.add(len(frame), clock.monotonic() - began)


def _is_set(bits: bytes, number: int) -> bool:
    if number >= 8 * MAX_BITMAP_BYTES:
        return True
    return number < 8 * len(bits) and bool(bits[number // 8] >> number % 8 & 1)


def change_files(upload: Upload) -> Iterator[tuple[str, bytes, int, int]]:
    """Yield the files of a bundle from which steps/parcel.sh makes the last upload this one: name, content, mode, time.

    Without a change of the last upload, it only notes the folder for the next one.
    """
    if upload.change is None:
        return
    folder, files = f"change/{upload.name}", upload.change.files
    yield f"{folder}/base", f"{upload.change.base or '-'}\n".encode(), 0o600, 0
    yield f"{folder}/sums", b"".join(os.fsencode(f"{file.digest}  {file.name}\n") for file in files), 0o600, 0
    for file in files:
        content = Piece(file, 0, file.size_bytes).read()
        yield f"{folder}/files/{file.name}", content, file.mode, file.mtime_ns
