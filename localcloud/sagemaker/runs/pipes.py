"""Channels of Pipe mode: one named pipe per epoch, with the channel's objects one after the other."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ChannelPipes:
    """Pipes of one channel on one host: ``<channel>_0``, ``<channel>_1`` and so on, until they are closed.

    :param source: folder with the channel's objects.
    :param first: path of the first pipe without its number.
    """

    def __init__(self, source: Path, first: Path) -> None:
        self._files = sorted(path for path in source.rglob("*") if path.is_file())
        self._prefix, self._epoch = first, -1
        self._closed = threading.Event()
        self._prefix.parent.mkdir(parents=True, exist_ok=True)
        self._add_epoch()
        self._thread = threading.Thread(target=self._write, name=f"pipe {first.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop writing."""
        self._closed.set()
        # Opening a pipe waits for its reader, so there is one now.
        with contextlib.suppress(OSError):
            os.close(os.open(self._path(), os.O_RDONLY | os.O_NONBLOCK))

    def _path(self) -> Path:
        return self._prefix.with_name(f"{self._prefix.name}_{self._epoch}")

    def _add_epoch(self) -> None:
        self._epoch += 1
        os.mkfifo(self._path())

    def _write(self) -> None:
        while not self._closed.is_set():
            # A job may end at any time, and read a part of an epoch.
            with contextlib.suppress(BrokenPipeError), self._path().open("wb") as pipe:
                # Before this epoch ends: the job opens the next pipe as soon as it does.
                self._add_epoch()
                for file in self._files:
                    with file.open("rb") as content:
                        shutil.copyfileobj(content, pipe)


@contextmanager
def opened(folder: Path) -> Iterator[None]:
    """Serve the pipes of a host while it trains.

    :param folder: of the host; the objects are in ``pipes``.
    """
    sources = sorted((folder / "pipes").glob("*"))
    pipes = [ChannelPipes(source, folder / "ml/input/data" / source.name) for source in sources]
    try:
        yield
    finally:
        for channel in pipes:
            channel.close()
