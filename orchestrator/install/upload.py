"""Uploads of folders from this computer to hosts: their files, their digest, and their bytes as a stream."""

from __future__ import annotations

import fnmatch
import hashlib
import io
import os
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CHUNK_BYTES = 1 << 20
# Larger files are compared by size and time of change: hashing a data set would take minutes at every install.
HASHED_CONTENT_BYTES = 4 << 20
ALWAYS_EXCLUDED = (
    *("__pycache__", ".git", ".hg", ".svn", ".venv", ".ipynb_checkpoints", ".DS_Store", "*.pyc", "node_modules"),
    *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox", ".nox", ".idea", ".vscode"),
)
VENV_MARK = "pyvenv.cfg"
"""File at the top of every virtual environment, https://docs.python.org/3/library/venv.html."""


@dataclass(frozen=True)
class Upload:
    """A local folder (or single file) and its destination.

    :param name: unique among one job's uploads; the host keeps the digest of the last one under it.
    :param source: folder or file on this computer.
    :param remote_path: folder on the host, below ``~/stratus``.
    :param digest: of names and contents; the host requests the bytes only if it changed.
    :param excluded: names at the top of the folder, or patterns, that are not uploaded.
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
    """Yield (path, name in the archive) of every file, sorted, without caches, environments and version control."""
    if source.is_file():
        yield source, source.name
        return
    if not source.is_dir():
        raise FileNotFoundError(source)
    # Excluded folders are not entered: an environment alone has tens of thousands of files.
    for folder, folder_names, file_names in os.walk(source):
        top = Path(folder).relative_to(source)
        folder_names[:] = sorted(
            name
            for name in folder_names
            if not _is_excluded(top / name, excluded) and not (Path(folder) / name / VENV_MARK).is_file()
        )
        for name in sorted(file_names):
            path = Path(folder) / name
            if not _is_excluded(top / name, excluded) and path.is_file():
                yield path, (top / name).as_posix()


def _is_excluded(path: Path, excluded: tuple[str, ...]) -> bool:
    """Return True if a path is not uploaded.

    :param path: relative to the folder.
    :param excluded: names at the top of the folder, or patterns.
    """
    if any(fnmatch.fnmatch(path.name, pattern) for pattern in ALWAYS_EXCLUDED):
        return True
    return any(path.parts[0] == name or fnmatch.fnmatch(path.as_posix(), name) for name in excluded)


@dataclass(frozen=True)
class UploadSize:
    """Files of an upload.

    :param by_name: name at the top of the folder -> bytes.
    """

    files: int
    total_bytes: int
    by_name: Mapping[str, int]


def measure(source: Path, excluded: tuple[str, ...] = ()) -> UploadSize:
    """Return the size of an upload, without reading the files."""
    by_name: Counter[str] = Counter()
    files = 0
    for path, name in list_files(source, excluded):
        by_name[name.partition("/")[0]] += path.stat().st_size
        files += 1
    return UploadSize(files, by_name.total(), by_name)


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
