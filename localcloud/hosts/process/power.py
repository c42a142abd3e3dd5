"""Power switch of a process host: shutdown and reboot, now or later, requested through a named pipe."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

PowerAction = Literal["off", "reboot"]
_ACTIONS: dict[str, PowerAction] = {"off": "off", "reboot": "reboot"}


class PowerSwitch:
    """Reads requests, one per line, such as ``off 0``, ``reboot 60`` (in seconds) and ``cancel 0``.

    The timer runs in the host's process, so a request outlives the session that made it.

    :param on_action: called when the time has come.
    :param log: writes a line to the console.
    """

    def __init__(self, control: Path, *, on_action: Callable[[PowerAction], None], log: Callable[[str], None]) -> None:
        self._on_action = on_action
        self._log = log
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        # Open for writing, too: otherwise the pipe would be at its end whenever no command has it open.
        self._pipe = os.open(control, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._loop.add_reader(self._pipe, self._read)

    def close(self) -> None:
        """Ignore further requests."""
        self._cancel()
        self._loop.remove_reader(self._pipe)
        os.close(self._pipe)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for line in os.read(self._pipe, 4096).decode(errors="replace").splitlines():
                self._handle(line.split())

    def _handle(self, words: list[str]) -> None:
        if words[:1] == ["cancel"]:
            self._cancel()
            self._log("The system shutdown has been cancelled")
        # As with shutdown(8), a new request replaces the one before.
        elif len(words) == 2 and words[0] in _ACTIONS and words[1].isdecimal():
            self._cancel()
            self._log(f"System {words[0]} in {words[1]} seconds")
            self._timer = self._loop.call_later(int(words[1]), self._on_action, _ACTIONS[words[0]])

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
