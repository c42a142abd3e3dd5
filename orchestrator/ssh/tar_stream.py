"""Folders as tar streams: packed for a host, and unpacked from a host without trusting it."""

from __future__ import annotations

import contextlib
import os
import posixpath
import shutil
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from orchestrator.core.errors import HostError
from orchestrator.core.next_step import Text

OnSkipped = Callable[[str, str], None]
"""Called with the name of a skipped entry and the reason."""

Link = Callable[[Path, Path], object]
"""Makes the second path a hard link of the first; raises OSError where the file system has none, such as exFAT."""

BLOCK_BYTES = 1 << 20

MAX_HEADER_BYTES = 4 << 20
"""Bytes of the headers of one entry: tarfile reads long names and maps of sparse files into memory."""

MAX_DEPTH = 64
"""Folders within folders: code that walks a tree recurses as deep as the tree."""

MAX_LINK_CHAIN = 40
"""Links that lead to one another; Linux follows as many: https://man7.org/linux/man-pages/man7/path_resolution.7.html"""

MAX_REST_BYTES = 16 << 20
"""Bytes after the end of an archive; tar pads it to 10 KiB."""

MAX_LINE_BYTES = 16
"""Of a line between archives: a letter, or an exit status."""


class LimitReached(HostError):
    """More was to be unpacked than the limit allows; what was unpacked before is kept."""

    json_name = "LimitReached"


class UnpackBudget:
    """Bytes and files that may still be unpacked.

    :param max_bytes: of all files.
    :param max_files: files, folders and links.
    :param advice: where the limits are set.
    :param shared: taken from once these are spent.
    :param on_bytes: called with the number of bytes before they are written.
    :param disk_full: what is told once the bytes are spent, if this computer's disk limits them; empty if not.
    """

    def __init__(
        self,
        max_bytes: int = 20 << 30,
        max_files: int = 200_000,
        advice: Text = "",
        shared: UnpackBudget | None = None,
        on_bytes: Callable[[int], object] = lambda count: None,
        disk_full: str = "",
    ) -> None:
        self._on_bytes = on_bytes
        self.max_bytes, self.max_files, self.advice = max_bytes, max_files, advice
        self._shared, self.disk_full = shared, disk_full
        self._bytes = self._files = 0
        # Hosts are fetched from at the same time.
        self._lock = threading.Lock()

    def split(self, count: int) -> list[UnpackBudget]:
        """Return a budget for each of several hosts: half of this one in equal parts, and all share the other half.

        A host that sends without end must not use up what the others need.
        """
        if count < 2:
            return [self] * count
        shared = UnpackBudget(self.max_bytes // 2, self.max_files // 2, self.advice, disk_full=self.disk_full)
        part_bytes, part_files = self.max_bytes // 2 // count, self.max_files // 2 // count
        return [UnpackBudget(part_bytes, part_files, self.advice, shared) for _ in range(count)]

    def take_file(self) -> None:
        """Count one entry.

        :raises LimitReached: it is one too many.
        """
        with self._lock:
            if self._files < self.max_files:
                self._files += 1
                return
        if self._shared is None:
            raise LimitReached(f"stopped after {self.max_files:,} files, the limit of a fetch", fix=self.advice)
        self._shared.take_file()

    def take_bytes(self, count: int) -> None:
        """Count bytes before they are written.

        :raises LimitReached: they are too many.
        """
        self._on_bytes(count)
        with self._lock:
            if self._bytes + count <= self.max_bytes:
                self._bytes += count
                return
        if self._shared is None:
            gib = self.max_bytes / (1 << 30)
            problem = self.disk_full or f"stopped at {gib:.3g} GiB, the limit of a fetch"
            raise LimitReached(problem, fix=self.advice)
        self._shared.take_bytes(count)


class ChunkReader:
    """File object over chunks of bytes."""

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

    def push_back(self, data: bytes) -> None:
        """Return bytes to be read again."""
        self._rest = memoryview(data + bytes(self._rest))

    def read_line(self) -> bytes:
        """Return the next line without its end, or the first bytes of one that is too long for this stream."""
        line = b""
        for _ in range(MAX_LINE_BYTES):
            if (byte := self.read(1)) in (b"", b"\n"):
                break
            line += byte
        return line

    def skip_rest(self) -> bool:
        """Read to the end, as the exit status of the sender comes after its output; False if there is too much."""
        end = self.received + MAX_REST_BYTES
        while self.received <= end:
            if not self.read(BLOCK_BYTES):
                return True
        return False


class _Decompressor:
    """File object for tarfile over a gzip stream; limits what may be read before the next entry.

    :ivar header_bytes: bytes left for headers; None while the content of a file is read.
    """

    def __init__(self, source: ChunkReader) -> None:
        self.header_bytes: int | None = None
        self._source = source
        # 16 + 15: a gzip header, the largest window.
        self._inflate = zlib.decompressobj(wbits=31)

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes; none at the end.

        :raises tarfile.ReadError: the stream is damaged or incomplete, or a header is too long.
        """
        data = b""
        try:
            while not data and not self._inflate.eof:
                compressed = self._inflate.unconsumed_tail or self._source.read(1 << 16)
                data = self._inflate.decompress(compressed, size)
                if not compressed and not data:
                    raise tarfile.ReadError("unexpected end of data")
        except zlib.error as error:
            raise tarfile.ReadError(f"damaged: {error}") from error
        if self.header_bytes is not None:
            self.header_bytes -= len(data)
            if self.header_bytes < 0:
                raise tarfile.ReadError("a header without end")
        return data

    def finish(self) -> None:
        """Read to the end of the gzip stream, and leave what follows it to the next reader.

        :raises tarfile.ReadError: the stream is incomplete, or has no end.
        """
        self.header_bytes = MAX_REST_BYTES
        while not self._inflate.eof:
            self.read(BLOCK_BYTES)
        self._source.push_back(self._inflate.unused_data)


def unpack(source: ChunkReader, folder: Path, on_skipped: OnSkipped, budget: UnpackBudget, link: Link = os.link) -> int:
    """Unpack a compressed tar stream into ``folder``, which must exist, as it arrives.

    Files and folders only. Links to files inside the folder become those files: a link that is never created cannot
    be followed out of the folder. Links elsewhere, and devices, are skipped. What exists at an entry's path is
    replaced, also a folder by a file.

    :param source: its next bytes are those after the archive.
    :return: bytes of all files.
    :raises HostError: a name is absolute or leaves the folder; tar of a folder produces none.
    :raises LimitReached: the budget is spent.
    :raises tarfile.ReadError: the stream is not a complete archive.
    """
    try:
        links, total = _unpack(source, folder, on_skipped, budget)
        resolve_links(links, folder, on_skipped, lambda target, path: link_or_copy(target, path, folder, budget, link))
    # Raised by tarfile for fields that are no numbers, and for chains of headers.
    except (ValueError, ArithmeticError, LookupError, RecursionError) as error:
        raise tarfile.ReadError(f"damaged: {error}") from error
    return total


def _unpack(
    source: ChunkReader, folder: Path, on_skipped: OnSkipped, budget: UnpackBudget
) -> tuple[dict[str, str], int]:
    """Unpack files and folders; return the targets of links by name, and the bytes of all files."""
    links: dict[str, str] = {}
    total = 0
    stream = _Decompressor(source)
    stream.header_bytes = MAX_HEADER_BYTES
    # tarfile calls read() only, although its annotations require a complete file object.
    with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 16) as archive:  # type: ignore[call-overload]
        while member := _next_member(archive, stream):
            budget.take_file()
            name = safe_name(member.name)
            if member.issym() or member.islnk():
                links[name] = _link_target(member, name)
            elif member.isfile() or member.isdir():
                stream.header_bytes = None
                total += _extract(archive, member, folder / name, folder, budget)
            else:
                on_skipped(name, "neither a file nor a folder")
    stream.finish()
    return links, total


def _next_member(archive: tarfile.TarFile, stream: _Decompressor) -> tarfile.TarInfo | None:
    stream.header_bytes = MAX_HEADER_BYTES
    # tarfile keeps every entry that it has read, for lookups by name.
    archive.members = []  # type: ignore[attr-defined]
    return archive.next()


def safe_name(name: str) -> str:
    """Return the normalized name, if it stays inside and the file system takes it."""
    if name.startswith("/") or ".." in name.split("/") or "\0" in name:
        raise HostError(f"refused to unpack {name[:200]!a}: it points outside the destination folder")
    if name.count("/") > MAX_DEPTH:
        raise HostError(f"refused to unpack {name[:200]!a}...: more than {MAX_DEPTH} folders deep")
    try:
        os.fsencode(name)
    except UnicodeError as error:
        raise HostError(f"refused to unpack {name[:200]!a}: not a file name here") from error
    return posixpath.normpath(name)


def _link_target(link: tarfile.TarInfo, name: str) -> str:
    """Return the target of a link from the top of the archive: symbolic links are relative to their folder."""
    start = posixpath.dirname(name) if link.issym() else ""
    return posixpath.normpath(posixpath.join(start, link.linkname))


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path, folder: Path, budget: UnpackBudget) -> int:
    """Write one file or folder; tarfile's own filters need Python 3.11.4."""
    if path != folder and not path.parent.resolve().is_relative_to(folder.resolve()):
        raise HostError(f"refused to unpack {member.name!a}: a local link leads outside the folder")
    if member.isdir():
        if path.is_symlink():
            path.unlink()
        make_folder(path, folder)
        return 0
    make_folder(path.parent, folder)
    remove(path, folder)
    content = archive.extractfile(member)
    assert content is not None
    with content:
        size = _write(content, path, budget)
    # Of the sender's mode, only the execute bit is kept: no set-id bits, nothing writable by others.
    path.chmod(0o755 if member.mode & 0o100 else 0o644)
    # A time of the sender that no file system can store.
    with contextlib.suppress(ValueError, OverflowError, OSError):
        os.utime(path, (member.mtime, member.mtime))
    return size


def make_folder(path: Path, top: Path) -> None:
    """Make a folder below ``top`` where there is none; files on the way to it are replaced.

    A job may have a folder now where it had a file when it was fetched before.
    """
    folder = top
    for part in path.relative_to(top).parts:
        folder /= part
        # In this order: another host's thread may make the folder at any moment.
        if (folder.is_symlink() or folder.exists()) and not folder.is_dir():
            with contextlib.suppress(FileNotFoundError, IsADirectoryError, PermissionError):
                folder.unlink()
    path.mkdir(parents=True, exist_ok=True)


def remove(path: Path, top: Path) -> None:
    """Remove what is at a path below ``top``: opening a link would write through it, and a folder cannot be opened."""
    if path.is_dir() and not path.is_symlink() and path != top:
        shutil.rmtree(path)
    elif path != top:
        path.unlink(missing_ok=True)


def _write(content: IO[bytes], path: Path, budget: UnpackBudget) -> int:
    """Write a file; return its size, which in a sparse file is not that of the data sent."""
    size = 0
    try:
        with path.open("wb") as file:
            while block := content.read(BLOCK_BYTES):
                budget.take_bytes(len(block))
                size += file.write(block)
    except BaseException:
        # Half a file is not kept under its name, whatever ended it.
        path.unlink(missing_ok=True)
        raise
    return size


def resolve_links(links: dict[str, str], folder: Path, on_skipped: OnSkipped, replace: Link) -> None:
    """Replace links by their files, repeatedly: a replaced link may be the target of another one."""
    top = folder.resolve()
    for _ in range(MAX_LINK_CHAIN):
        ready = [name for name, target in links.items() if _is_file_inside(folder / target, top)]
        for name in ready:
            target = links.pop(name)
            parent = (folder / name).parent.resolve()
            # A folder of an earlier fetch cannot be replaced by a file in it, nor by one that went with another folder.
            is_above = (folder / target).resolve().is_relative_to(parent / posixpath.basename(name))
            is_same = folder / target == folder / name
            if parent.is_relative_to(top) and _is_file_inside(folder / target, top) and (is_same or not is_above):
                replace(folder / target, folder / name)
            else:
                on_skipped(name, f"a link to {target}")
    for name, target in links.items():
        on_skipped(name, f"a link to {target}")


def _is_file_inside(target: Path, top: Path) -> bool:
    try:
        return target.is_file() and target.resolve().is_relative_to(top)
    # A name that is too long, or none at all.
    except (OSError, ValueError):
        return False


def link_or_copy(source: Path, path: Path, folder: Path, budget: UnpackBudget, link: Link) -> None:
    """Make ``path`` a hard link of ``source``, so that many links to a large file do not become as many copies."""
    if path.exists() and path.samefile(source):
        return
    make_folder(path.parent, folder)
    remove(path, folder)
    try:
        link(source.resolve(), path)
    except OSError:
        budget.take_bytes(source.stat().st_size)
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
