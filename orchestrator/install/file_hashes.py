"""SHA-256 digests of local files; those of large files are kept while the file stays as it is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from orchestrator.config.credentials import MAX_CREDENTIAL_BYTES
from orchestrator.core import json_file

KEPT_BYTES = MAX_CREDENTIAL_BYTES + 1
"""Digests of smaller files are not kept: they are read each time, and searched for credentials."""

MAX_SOURCES = 100
"""Folders whose digests are kept; the oldest are dropped."""

COARSE_NS = 2_000_000_000
"""Nanoseconds between time stamps of file systems that count whole seconds, as FAT and NFS version 2 do."""

BLOCK_BYTES = 1 << 20


class FileHashes:
    """Digests of the files of one source; a context manager that saves new ones at its end.

    :param source: folder or file that is uploaded.
    :param folder: folder that keeps the digests; None keeps nothing.
    """

    def __init__(self, source: Path, folder: Path | None) -> None:
        self._folder = folder
        self._name = hashlib.sha256(os.fsencode(source.absolute())).hexdigest()[:24] + ".json"
        self._kept = json_file.load(folder, self._name) if folder else {}
        self._used: dict[str, list[object]] = {}
        self._has_new = False

    def __enter__(self) -> FileHashes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder and kind is None and (self._has_new or self._used.keys() != self._kept.keys()):
            # Digests save time only: without room for them everything else goes on.
            with suppress(OSError):
                json_file.save(self._folder, self._name, self._used)
                self._drop_oldest(self._folder)

    def digest(self, path: Path, status: os.stat_result) -> str:
        """Return the digest of a large file in hexadecimal.

        :param status: of the file; its content is read unless this is as it was when the digest was kept.
        """
        # ctime cannot be set: with it, a change that keeps size and mtime is noticed, too.
        facts: list[object] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        match self._kept.get(str(path)):
            case [*old, int(read_at_ns), str(digest)] if old == facts and is_settled(status.st_ctime_ns, read_at_ns):
                pass
            case _:
                self._has_new = True
                read_at_ns, digest = self._now_ns(), _hash_file(path)
                is_racy = not is_settled(status.st_ctime_ns, read_at_ns)
                # A second reading now, of a file that has just been written, saves that of the next upload.
                if is_racy and is_settled(status.st_ctime_ns, now_ns := self._now_ns()):
                    read_at_ns, digest = now_ns, _hash_file(path)
        self._used[str(path)] = [*facts, read_at_ns, digest]
        return digest

    def _now_ns(self) -> int:
        """Return the time as the file system stamps it on files; 0 if that is unknown."""
        if not self._folder:
            return 0
        stamp = self._folder / "now"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            stamp.touch()
            return stamp.stat().st_mtime_ns
        except OSError:
            return 0

    def _drop_oldest(self, folder: Path) -> None:
        files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        for path in files[:-MAX_SOURCES]:
            path.unlink(missing_ok=True)


def is_settled(ctime_ns: int, read_at_ns: int) -> bool:
    """Return True if a change since a file was read has another time stamp than its last one before.

    Git has the same rule: https://git-scm.com/docs/racy-git.
    """
    return ctime_ns + (0 if ctime_ns % 1_000_000_000 else COARSE_NS) < read_at_ns


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
    return digest.hexdigest()


def _blocks(path: Path) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(BLOCK_BYTES))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(buffer):
            yield buffer[:size]
