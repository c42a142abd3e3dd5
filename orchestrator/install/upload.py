"""Uploads of folders from this computer to hosts: their files, their digest, and their bytes as a stream."""

from __future__ import annotations

import fnmatch
import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHUNK_BYTES = 1 << 20
# Larger files are compared by size and time of change: hashing a data set would take minutes at every install.
HASHED_CONTENT_BYTES = 4 << 20
ALWAYS_EXCLUDED = ("__pycache__", ".git", ".venv", ".ipynb_checkpoints", ".DS_Store", "*.pyc")


@dataclass(frozen=True)
class Upload:
    """A local folder (or single file) and its destination.

    :param name: unique among one job's uploads; the host keeps the digest of the last one under it.
    :param source: folder or file on this computer.
    :param remote_path: folder on the host, below ``~/stratus``.
    :param digest: of names and contents; the host requests the bytes only if it changed.
    :param excluded: names at the top of the folder that are not uploaded.
    """

    name: str
    source: Path
    remote_path: str
    digest: str
    excluded: tuple[str, ...] = ()


def scan(name: str, source: Path, remote_path: str, *, excluded: tuple[str, ...] = ()) -> Upload:
    """Return the upload of a folder or file as it is now.

    :raises FileNotFoundError: ``source`` does not exist.
    """
    digest = hashlib.sha256()
    for path, relative in list_files(source, excluded):
        stat = path.stat()
        # Of the mode only the owner's execute bit: a umask is no change.
        digest.update(f"{relative}\0{stat.st_size}\0{stat.st_mode & 0o100}\0".encode())
        content = path.read_bytes() if stat.st_size <= HASHED_CONTENT_BYTES else str(stat.st_mtime_ns).encode()
        digest.update(hashlib.sha256(content).digest())
    return Upload(name, source, remote_path, digest.hexdigest(), excluded)


def list_files(source: Path, excluded: tuple[str, ...] = ()) -> Iterator[tuple[Path, str]]:
    """Yield (path, name in the archive) of every file, sorted, without caches and version control."""
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
    """Buffer that tarfile writes to and a generator drains."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    def writable(self) -> bool:
        """Return True, as tarfile requires."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Append bytes until they are drained."""
        self.buffer += data
        return len(data)

    def drain(self) -> bytes:
        """Return the bytes written so far, and drop them."""
        data, self.buffer = bytes(self.buffer), bytearray()
        return data


def stream_tar(upload: Upload) -> Iterator[bytes]:
    """Yield an upload as steps/parcel.sh reads it: chunks, each after a line with its length; length 0 ends it."""
    for block in _tar_blocks(upload):
        yield b"%d\n" % len(block)
        yield block
    yield b"0\n"


def _tar_blocks(upload: Upload) -> Iterator[bytes]:
    """Yield a compressed tar in blocks, with never more than a few of them in memory."""
    buffer = _TarBuffer()
    with tarfile.open(fileobj=buffer, mode="w|gz", bufsize=CHUNK_BYTES) as archive:
        for path, name in list_files(upload.source, upload.excluded):
            info = archive.gettarinfo(path, name)
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            archive.addfile(info)
            # addfile() with a file object would copy it whole before anything can be drained.
            yield from _file_blocks(archive, path, info.size, buffer)
    yield from filter(None, [buffer.drain()])


def _file_blocks(archive: tarfile.TarFile, path: Path, size: int, buffer: _TarBuffer) -> Iterator[bytes]:
    """Write one file's bytes and padding into the archive, yielding as blocks fill."""
    assert archive.fileobj is not None
    left = size
    with path.open("rb") as file:
        while left:
            data = file.read(min(CHUNK_BYTES, left))
            # A file that shrank meanwhile is padded, so that the archive stays readable; its digest will differ.
            data = data or b"\0" * min(CHUNK_BYTES, left)
            archive.fileobj.write(data)
            left -= len(data)
            if len(buffer.buffer) >= CHUNK_BYTES:
                yield buffer.drain()
    padding = -size % tarfile.BLOCKSIZE
    archive.fileobj.write(b"\0" * padding)
    # tarfile pads the end of the archive by this offset, which only addfile() would update.
    archive.offset += size + padding
