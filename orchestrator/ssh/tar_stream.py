"""Folders as tar streams: packed for a host, and unpacked from a host without trusting it."""

from __future__ import annotations

import os
import posixpath
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from orchestrator.core.errors import HostError

OnSkipped = Callable[[str, str], None]
"""Called with the name of a skipped entry and the reason."""


class ChunkReader:
    """File object for tarfile over chunks of bytes."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")
        self.received = 0

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes; none at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self.received += len(chunk)
            self._rest = memoryview(chunk)
        piece, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return piece

    def skip_rest(self) -> None:
        """Read to the end: the exit status of the sender comes after its output."""
        while self.read(1 << 20):
            pass


def unpack(source: ChunkReader, folder: Path, on_skipped: OnSkipped) -> int:
    """Unpack a compressed tar stream into ``folder``, which must exist, as it arrives.

    Files and folders only. Links to files inside the folder become those files: a link that is never created cannot
    be followed out of the folder. Links elsewhere, and devices, are skipped. Existing files are replaced.

    :return: bytes of all files.
    :raises HostError: a name is absolute or leaves the folder; tar of a folder produces none.
    :raises tarfile.ReadError: the stream is not a complete archive.
    """
    links: dict[str, str] = {}
    total = 0
    # tarfile calls read() only, although its annotations require a complete file object.
    with tarfile.open(fileobj=source, mode="r|gz", bufsize=1 << 16) as archive:  # type: ignore[call-overload]
        for member in archive:
            name = _safe_name(member.name)
            if member.issym() or member.islnk():
                links[name] = _link_target(member, name)
            elif member.isfile() or member.isdir():
                total += _extract(archive, member, folder / name, folder)
            else:
                on_skipped(name, "neither a file nor a folder")
    _resolve_links(links, folder, on_skipped)
    return total


def _safe_name(name: str) -> str:
    """Return the normalized name, if it stays inside."""
    if name.startswith("/") or ".." in name.split("/") or "\0" in name:
        raise HostError(f"refused to unpack {name!r}: it points outside the destination folder")
    return posixpath.normpath(name)


def _link_target(link: tarfile.TarInfo, name: str) -> str:
    """Return the target of a link from the top of the archive: symbolic links are relative to their folder."""
    start = posixpath.dirname(name) if link.issym() else ""
    return posixpath.normpath(posixpath.join(start, link.linkname))


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path, folder: Path) -> int:
    """Write one file or folder; tarfile's own filters need Python 3.11.4."""
    if path != folder and not path.parent.resolve().is_relative_to(folder.resolve()):
        raise HostError(f"refused to unpack {member.name!r}: a local link leads outside the folder")
    if path.is_symlink() or (member.isfile() and path.is_file()):
        # Opening it would write through a link at this path.
        path.unlink()
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    content = archive.extractfile(member)
    assert content is not None
    with content, path.open("wb") as file:
        shutil.copyfileobj(content, file, 1 << 20)
    # Of the sender's mode, only the execute bit is kept: no set-id bits, nothing writable by others.
    path.chmod(0o755 if member.mode & 0o100 else 0o644)
    os.utime(path, (member.mtime, member.mtime))
    return member.size


def _resolve_links(links: dict[str, str], folder: Path, on_skipped: OnSkipped) -> None:
    """Replace links by their files, repeatedly: a replaced link may be the target of another one."""
    top = folder.resolve()
    while ready := [name for name, target in links.items() if _is_file_inside(folder / target, top)]:
        for name in ready:
            target = links.pop(name)
            if (folder / name).parent.resolve().is_relative_to(top):
                _link_or_copy(folder / target, folder / name)
            else:
                on_skipped(name, f"a link to {target}")
    for name, target in links.items():
        on_skipped(name, f"a link to {target}")


def _is_file_inside(target: Path, top: Path) -> bool:
    return target.is_file() and target.resolve().is_relative_to(top)


def _link_or_copy(source: Path, path: Path) -> None:
    """Make ``path`` a hard link of ``source``, so that many links to a large file do not become as many copies."""
    if path.exists() and path.samefile(source):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), path)
    except OSError:
        shutil.copy2(source, path)


def pack(folder: Path) -> Iterator[bytes]:
    """Yield a compressed tar of the content of ``folder``, created as it is read, so that no archive is held in memory.

    :raises OSError: something in it cannot be read.
    """
    errors: list[BaseException] = []
    # tarfile writes and the caller reads: a pipe connects them without a temporary file.
    reading, writing = os.pipe()

    def write() -> None:
        try:
            with os.fdopen(writing, "wb") as sink, tarfile.open(fileobj=sink, mode="w|gz") as archive:
                archive.add(folder, arcname=".")
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=write, name="tar", daemon=True)
    with os.fdopen(reading, "rb") as source:
        thread.start()
        while data := source.read1(1 << 16):
            yield data
    thread.join()
    # Raised here, in the caller's thread: the host must not take a partial archive for a complete one.
    if errors:
        raise errors[0]
