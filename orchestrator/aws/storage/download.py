"""Download of one object: ranges that are fetched in parallel, continued after a cut or a kill, and verified."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import threading
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.aws.storage import crc32
from orchestrator.aws.storage.bucket import Access, StoredObject
from orchestrator.aws.storage.locations import LIST_SUFFIX, PART_SUFFIX, S3Url
from orchestrator.aws.storage.upload import PARALLEL, PART_BYTES, Source, in_threads
from orchestrator.core.errors import StratusError, UsageError
from orchestrator.core.transfer_meter import Meter

_BLOCK_BYTES = 256 << 10
_ATTEMPTS = 5
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


@dataclass
class PartialFile:
    """A file under way, with a list of its complete ranges beside it.

    :param done: number of each complete range -> its CRC32.
    """

    target: Path
    header: dict[str, Any]
    done: dict[int, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _descriptor: int = -1

    @property
    def path(self) -> Path:
        """Path of the file under way."""
        return self.target.with_name(self.target.name + PART_SUFFIX)

    @property
    def list_path(self) -> Path:
        """Path of the list: the header, then a number and a checksum per line."""
        return self.target.with_name(self.target.name + LIST_SUFFIX)

    def open(self, size: int) -> None:
        """Open the file, and read the list of an earlier call if it is of the same object.

        :raises StratusError: the disk has no room for it, or another download writes the same file.
        """
        try:
            self._descriptor = os.open(self.path, _FLAGS, 0o666)
            self._lock_file()
            lines = self._lines()
            is_same = bool(lines) and lines[0] == json.dumps(self.header, sort_keys=True)
            self._allocate(size, is_same)
            if is_same:
                self.done = dict(filter(None, map(_range_of, lines[1:])))
            else:
                self.list_path.write_text(json.dumps(self.header, sort_keys=True) + "\n", encoding="utf-8")
        except OSError as error:
            self.close()
            raise _disk_error(error, self.target) from error

    def _lock_file(self) -> None:
        """Keep other downloads out until the file is closed: their bytes would be mixed with these."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._refuse_second()
        except OSError as error:
            # File systems without locks, such as some of networks.
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
                raise
        try:
            is_current = os.path.samestat(os.fstat(self._descriptor), self.path.lstat())
        except FileNotFoundError:
            is_current = False
        if not is_current:
            # Complete, and at its final name since it was opened.
            self._refuse_second()

    def _refuse_second(self) -> None:
        self.close()
        raise StratusError(
            "another download writes this file", where=str(self.target), fix="wait for it, then run the command again"
        )

    def _allocate(self, size: int, is_same: bool) -> None:
        facts = os.fstat(self._descriptor)
        allocated = facts.st_blocks * 512 if is_same else 0
        free = shutil.disk_usage(self.target.parent).free
        if size - allocated > free:
            self.close()
            message = f"the disk is full: {size - allocated:,} bytes are needed, {free:,} are free"
            raise StratusError(message, where=str(self.target.parent), fix="make room, then run the same command again")
        if not is_same:
            os.ftruncate(self._descriptor, 0)
        os.ftruncate(self._descriptor, size)

    def _lines(self) -> list[str]:
        try:
            return self.list_path.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return []

    def write(self, data: bytes, offset: int) -> None:
        """Write bytes of a range."""
        try:
            view = memoryview(data)
            while view:
                written = os.pwrite(self._descriptor, view, offset)
                view, offset = view[written:], offset + written
        except OSError as error:
            raise _disk_error(error, self.target) from error

    def checksum(self, start: int, size: int) -> int:
        """Return the CRC32 of a range as it is on disk."""
        value = 0
        while size and (block := os.pread(self._descriptor, min(size, _BLOCK_BYTES), start)):
            value, start, size = zlib.crc32(block, value), start + len(block), size - len(block)
        return value

    def complete(self, number: int, checksum: int) -> None:
        """Note a complete range."""
        try:
            with self._lock, self.list_path.open("a", encoding="utf-8") as file:
                self.done[number] = checksum
                # One line per range: a line torn by a kill costs that range alone.
                file.write(f"{number} {checksum}\n")
        except OSError as error:
            raise _disk_error(error, self.target) from error

    def finish(self, modified_s: float) -> None:
        """Give the file its name."""
        try:
            os.fsync(self._descriptor)
            os.utime(self._descriptor, (modified_s, modified_s))
            os.replace(self.path, self.target)
        except OSError as error:
            raise _disk_error(error, self.target) from error
        # The lock ends last.
        self.list_path.unlink(missing_ok=True)
        self.close()

    def discard(self) -> None:
        """Remove what was fetched."""
        self.path.unlink(missing_ok=True)
        self.list_path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


@dataclass(frozen=True)
class Downloader:
    """Downloads objects."""

    access: Access
    meter: Meter

    def download(self, url: S3Url, stored: StoredObject, target: Path) -> bool:
        """Download an object, or what is missing of it; return whether anything was fetched.

        :raises StratusError: the object has changed, or differs from its checksum; S3 or the disk refused it.
        """
        if is_current(target, stored):
            self.meter.skip(stored.size)
            return False
        if target.is_dir():
            raise UsageError("is a folder; the object is a file", where=str(target))
        if target.exists() and not target.is_file():
            # It would be replaced by a file.
            raise UsageError("is a device or the like, not a file", where=str(target))
        file = PartialFile(target, {"url": str(url), "etag": stored.etag, "size": stored.size, "part": PART_BYTES})
        file.open(stored.size)
        try:
            with self.access.errors("reading", url):
                self._fetch(url, stored, file)
        except StratusError as error:
            if error.code in ("PreconditionFailed", "412"):
                file.discard()
            raise
        finally:
            file.close()
        return True

    def _fetch(self, url: S3Url, stored: StoredObject, file: PartialFile) -> None:
        starts = range(0, stored.size, PART_BYTES)
        sizes = [min(PART_BYTES, stored.size - start) for start in starts]

        def fetch(number: int) -> None:
            start, size = starts[number], sizes[number]
            known = file.done.get(number)
            # Read again: the disk may have lost what a killed process wrote.
            if known is not None and file.checksum(start, size) == known:
                self.meter.skip(size)
            else:
                file.complete(number, self._range(url, stored.etag, start, size, file))

        in_threads(fetch, range(len(starts)), PARALLEL, self.meter)
        whole = crc32.combined((file.done[number], size) for number, size in enumerate(sizes))
        if stored.crc32 and crc32.encode(whole) != stored.crc32:
            file.discard()
            raise StratusError(
                "the bytes fetched differ from the object's checksum", where=str(url), fix="fetch it again"
            )
        file.finish(stored.modified_s)

    def _range(self, url: S3Url, etag: str, start: int, size: int, file: PartialFile) -> int:
        """Fetch a range; return its CRC32. A connection that ends is replaced, and continues where it ended."""
        value = received = 0
        for attempt in range(_ATTEMPTS):
            try:
                for block in self._blocks(url, etag, start + received, size - received):
                    file.write(block, start + received)
                    value, received = zlib.crc32(block, value), received + len(block)
                    self.meter.add(len(block))
                if received == size:
                    return value
            except _cut_errors():
                if attempt == _ATTEMPTS - 1:
                    raise
            clock = self.access.clients.clock
            clock.sleep(0.2 * 2**attempt * (0.5 + clock.random()))
        raise StratusError("the connection ended again and again", where=str(url), fix="run the same command again")

    def _blocks(self, url: S3Url, etag: str, start: int, size: int) -> Any:
        limits = f"bytes={start}-{start + size - 1}"
        answer = self.access.s3.get_object(
            Bucket=url.bucket, Key=url.key, Range=limits, IfMatch=f'"{etag.removesuffix("-kms")}"', **self.access.payer
        )
        return answer["Body"].iter_chunks(_BLOCK_BYTES)


def is_current(target: Path, stored: StoredObject) -> bool:
    """Return whether a file has an object's bytes, as far as its checksums tell; its time where there are none."""
    try:
        source = Source.of(target)
    except UsageError:
        return False
    if not target.is_file() or target.is_symlink() or source.size != stored.size:
        return False
    if stored.crc32 or stored.md5:
        return source.matches(stored)
    return abs(source.modified_ns / 1e9 - stored.modified_s) < 1


def _cut_errors() -> tuple[type[Exception], ...]:
    from botocore import exceptions

    return (exceptions.HTTPClientError, exceptions.IncompleteReadError, exceptions.ResponseStreamingError)


def _range_of(line: str) -> tuple[int, int] | None:
    number, _, checksum = line.partition(" ")
    return (int(number), int(checksum)) if number.isdigit() and checksum.isdigit() else None


def _disk_error(error: OSError, target: Path) -> StratusError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    message = "the disk is full" if full else f"cannot be written: {error.strerror}"
    return StratusError(message, where=str(target), fix="make room, then run the same command again" if full else "")
