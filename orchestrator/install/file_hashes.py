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

MARGIN_NS = 1_000_000_000
"""Nanoseconds before a digest was kept in which a change may have had the same time stamp; git has the same rule:
https://git-scm.com/docs/racy-git"""

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
        self._trusted_until_ns = self._saved_at_ns() - MARGIN_NS

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
            case [*old, str(digest)] if old == facts and status.st_ctime_ns < self._trusted_until_ns:
                pass
            case _:
                digest, self._has_new = _hash_file(path), True
        self._used[str(path)] = [*facts, digest]
        return digest

    def _saved_at_ns(self) -> int:
        try:
            return (self._folder / self._name).stat().st_mtime_ns if self._folder else 0
        except OSError:
            return 0

    def _drop_oldest(self, folder: Path) -> None:
        files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        for path in files[:-MAX_SOURCES]:
            path.unlink(missing_ok=True)


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
