"""Folders that travel from the laptop to the hosts: what is in them, their digest, and their bytes as a stream."""

from __future__ import annotations

import fnmatch
import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHUNK_BYTES = 1 << 20
# Files up to this size are compared by content, larger ones by size and time of change: data sets are large.
HASHED_CONTENT_BYTES = 4 << 20
ALWAYS_EXCLUDED = ("__pycache__", ".git", ".venv", ".ipynb_checkpoints", ".DS_Store", "*.pyc")


@dataclass(frozen=True)
class Upload:
    """A local folder (or single file) and where it goes.

    :param name: unique among one job's parcels; the host remembers under it what it already has.
    :param source: folder or file on the laptop.
    :param dest: folder on the host, below ``~/stratus``.
    :param digest: of names and contents; the host asks for the bytes only when this changed.
    :param skip: names at the top of the folder that stay behind.
    """

    name: str
    source: Path
    remote_path: str
    digest: str
    excluded: tuple[str, ...] = ()


def scan(name: str, source: Path, remote_path: str, *, excluded: tuple[str, ...] = ()) -> Upload:
    """Take stock of a folder or file.

    :raises FileNotFoundError: when there is nothing at ``source``.
    """
    digest = hashlib.sha256()
    for path, relative in list_files(source, excluded):
        facts = path.stat()
        digest.update(f"{relative}\0{facts.st_size}\0{facts.st_mode & 0o100}\0".encode())
        content = path.read_bytes() if facts.st_size <= HASHED_CONTENT_BYTES else str(facts.st_mtime_ns).encode()
        digest.update(hashlib.sha256(content).digest())
    return Upload(name, source, remote_path, digest.hexdigest(), excluded)


def list_files(source: Path, excluded: tuple[str, ...] = ()) -> Iterator[tuple[Path, str]]:
    """Yield (path, name inside the parcel) of every file, sorted; caches and version control stay behind."""
    if source.is_file():
        yield source, source.name
        return
    if not source.is_dir():
        raise FileNotFoundError(source)
    for path in sorted(source.rglob("*")):
        parts = path.relative_to(source).parts
        if parts[0] in excluded or any(fnmatch.fnmatch(part, pattern) for part in parts for pattern in ALWAYS_EXCLUDED):
            continue
        if path.is_file():
            yield path, "/".join(parts)


class _TarBuffer(io.RawIOBase):
    """Collects what tarfile writes, so that a generator can hand it on."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    def writable(self) -> bool:
        """Tarfile asks."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Keep the bytes until they are drained."""
        self.buffer += data
        return len(data)

    def drain(self) -> bytes:
        """Hand over what was written so far."""
        data, self.buffer = bytes(self.buffer), bytearray()
        return data


def stream_tar(upload: Upload) -> Iterator[bytes]:
    """Yield the parcel as steps/parcel.sh reads it: chunks, each after a line with its length; length 0 ends it."""
    for block in _tar_blocks(upload):
        yield b"%d\n" % len(block)
        yield block
    yield b"0\n"


def _tar_blocks(upload: Upload) -> Iterator[bytes]:
    """Yield a compressed tar of the parcel in blocks, never holding more than a few of them."""
    pipe = _TarBuffer()
    with tarfile.open(fileobj=pipe, mode="w|gz", bufsize=CHUNK_BYTES) as archive:
        for path, name in list_files(upload.source, upload.excluded):
            info = archive.gettarinfo(path, name)
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            archive.addfile(info)
            # addfile() with a file object would copy it whole before anything can be drained.
            yield from _file_blocks(archive, path, info.size, pipe)
    yield from filter(None, [pipe.drain()])


def _file_blocks(archive: tarfile.TarFile, path: Path, size: int, pipe: _TarBuffer) -> Iterator[bytes]:
    """Write one file's bytes and padding into the archive, yielding as blocks fill."""
    assert archive.fileobj is not None
    left = size
    with path.open("rb") as file:
        while left:
            data = file.read(min(CHUNK_BYTES, left))
            # A file that shrank meanwhile is filled up, so that the archive stays readable; its digest will differ.
            data = data or b"\0" * min(CHUNK_BYTES, left)
            archive.fileobj.write(data)
            left -= len(data)
            if len(pipe.buffer) >= CHUNK_BYTES:
                yield pipe.drain()
    padding = -size % tarfile.BLOCKSIZE
    archive.fileobj.write(b"\0" * padding)
    archive.offset += size + padding
