"""Checkpoints of a job: copied from S3 before a run, and to S3 while it trains and at its end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path

from localcloud.sagemaker.storage import S3Url, Storage, TransferError

_INTERVAL_S = 1.0

_log = logging.getLogger(__name__)


class CheckpointSync:
    """Copies the checkpoint folders of all hosts to one prefix; a context manager.

    :param url: CheckpointConfig.S3Uri.
    :param folders: checkpoint folder of each host by its name.
    """

    def __init__(self, storage: Storage, url: str, folders: Mapping[str, Path]) -> None:
        self._storage, self._folders = storage, folders
        self._url = S3Url.parse(url.rstrip("/") + "/")
        self._copied: dict[Path, tuple[int, int]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._copy_until_end, name="checkpoints", daemon=True)

    def __enter__(self) -> None:
        for key in self._storage.keys(self._url):
            for folder in self._folders.values():
                path = folder / key.removeprefix(self._url.key)
                self._storage.download(self._url.bucket, key, path)
                self._copied[path] = _state(path)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._copy()

    def _copy_until_end(self) -> None:
        while not self._ended.wait(_INTERVAL_S):
            try:
                self._copy()
            except (TransferError, OSError) as error:
                # The next copy tries again, and the last one reports it.
                _log.warning("checkpoints: %s", error)

    def _copy(self) -> None:
        for folder in self._folders.values():
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                state = _state(path)
                if self._copied.get(path) != state:
                    key = self._url.key + str(path.relative_to(folder))
                    self._storage.upload(path, S3Url(self._url.bucket, key))
                    self._copied[path] = state


def _state(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_mtime_ns, facts.st_size
