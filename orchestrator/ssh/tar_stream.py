"""Folders as tar streams: packed for a host, and unpacked here without trusting what a host sends."""

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
"""Called with the name of something that was not taken over, and why."""


class ChunkReader:
    """Chunks of bytes as the file that tarfile reads from."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = memoryview(b"")
        self.received = 0

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes; none at the end."""
        while not self._held:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self.received += len(chunk)
            self._held = memoryview(chunk)
        piece, self._held = bytes(self._held[:size]), self._held[size:]
        return piece

    def skip_rest(self) -> None:
        """Read to the end: a sender that is not read to its end never tells how it ended."""
        while self.read(1 << 20):
            pass


def unpack(source: ChunkReader, folder: Path, on_skipped: OnSkipped) -> int:
    """Unpack a compressed tar stream into ``folder``, which must exist, while it comes in.

    Files and folders only. Links to files inside the folder become those files, for a link that is never made cannot
    be followed out; links that lead elsewhere, and devices, are left out. Existing files are replaced.

    :return: bytes of all files.
    :raises HostError: when a name is absolute or climbs out: no honest tar of a folder holds one.
    :raises tarfile.ReadError: when the stream is no complete archive.
    """
    links: dict[str, str] = {}
    total = 0
    # tarfile wants no more of a file object than read(), whatever its annotations say.
    with tarfile.open(fileobj=source, mode="r|gz", bufsize=1 << 16) as archive:  # type: ignore[call-overload]
        for member in archive:
            name = _checked(member.name)
            if member.issym() or member.islnk():
                links[name] = _target(member, name)
            elif member.isfile() or member.isdir():
                total += _extract(archive, member, folder / name, folder)
            else:
                on_skipped(name, "neither a file nor a folder")
    _settle(links, folder, on_skipped)
    return total


def _checked(name: str) -> str:
    """The name, normalised, if it stays inside."""
    if name.startswith("/") or ".." in name.split("/") or "\0" in name:
        raise HostError(f"refused to unpack {name!r}: it points outside the folder that was asked for")
    return posixpath.normpath(name)


def _target(link: tarfile.TarInfo, name: str) -> str:
    """Where a link leads, from the top of the archive: symbolic links count from where they lie, hard ones do not."""
    start = posixpath.dirname(name) if link.issym() else ""
    return posixpath.normpath(posixpath.join(start, link.linkname))


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path, folder: Path) -> int:
    """Write one file or folder; by hand, because tarfile's own filters came with Python 3.11.4 only."""
    if place != folder and not place.parent.resolve().is_relative_to(folder.resolve()):
        raise HostError(f"refused to unpack {member.name!r}: a link here leads it outside the folder")
    if place.is_symlink() or (member.isfile() and place.is_file()):
        # Opening it would write through a link that lies here.
        place.unlink()
    if member.isdir():
        place.mkdir(parents=True, exist_ok=True)
        return 0
    place.parent.mkdir(parents=True, exist_ok=True)
    content = archive.extractfile(member)
    assert content is not None
    with content, place.open("wb") as file:
        shutil.copyfileobj(content, file, 1 << 20)
    # Of the sender's mode only the right to execute is taken over: no set-id bits, nothing for others to write.
    place.chmod(0o755 if member.mode & 0o100 else 0o644)
    os.utime(place, (member.mtime, member.mtime))
    return member.size


def _settle(links: dict[str, str], folder: Path, left_out: OnSkipped) -> None:
    """Put files where links were, as often as that makes further links point to something."""
    top = folder.resolve()
    while ready := [name for name, target in links.items() if _is_file_inside(folder / target, top)]:
        for name in ready:
            target = links.pop(name)
            if (folder / name).parent.resolve().is_relative_to(top):
                _put(folder / target, folder / name)
            else:
                left_out(name, f"a link to {target}")
    for name, target in links.items():
        left_out(name, f"a link to {target}")


def _is_file_inside(target: Path, top: Path) -> bool:
    return target.is_file() and target.resolve().is_relative_to(top)


def _put(source: Path, place: Path) -> None:
    """Let ``place`` be the same file as ``source``: a thousand links to a large file must not become as many copies."""
    if place.exists() and place.samefile(source):
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), place)
    except OSError:
        shutil.copy2(source, place)


def pack(folder: Path) -> Iterator[bytes]:
    """Yield a compressed tar of what ``folder`` holds, made while it is read: no archive ever lies in memory.

    :raises OSError: when something in it cannot be read.
    """
    errors: list[BaseException] = []
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
    if errors:
        raise errors[0]
