"""Room on the disks of hosts, as they report it beside other facts; figures of full ones are kept for Status.

A poll costs no command of its own: ``follow.sh`` reports full disks with its heartbeats, ``gpus.sh`` all disks.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.core import json_file
from orchestrator.core.events import Event, EventHandler
from orchestrator.core.host import Host

FULL_PERCENT = 90
"""From here on a disk is warned of, as in ``follow.sh``."""

_NEARLY_NOTHING_PERCENT = 97

FILE = "full-disks.json"
_REPORT = re.compile(r"(\d{1,3}) (\d{1,15}) (/[\x21-\x7e]{0,200})")
_KIB = 1024


@dataclass(frozen=True)
class DiskRoom:
    """Room on one file system of a host.

    :param percent: share in use.
    """

    mount: str
    percent: int
    free_bytes: int

    @property
    def is_full(self) -> bool:
        """True if a user has to be warned."""
        return self.percent >= FULL_PERCENT

    @property
    def text(self) -> str:
        """Percentage and room as text."""
        return f"{self.mount} is {self.percent}% full, {self.free_bytes / 1e9:.1f} GB free"

    @property
    def fix(self) -> str:
        """Advice about a full one."""
        setting = "[disk] size" if self.mount == "/" else "its size in [volumes]"
        return f"delete files there, or raise {setting} for the next launch"


@dataclass(frozen=True)
class FullDisk:
    """A file system of a host that was full when the host last reported it."""

    host: str
    room: DiskRoom
    at: datetime


def parse(report: str) -> DiskRoom | None:
    """Return the room in a report, ``PERCENT FREE-KIB MOUNT``; None if it is damaged."""
    match = _REPORT.fullmatch(report.strip())
    return DiskRoom(match[3], int(match[1]), int(match[2]) * _KIB) if match else None


def ignore(_room: DiskRoom) -> None:
    """Ignore a report."""


def ignore_host(_host: Host, _room: DiskRoom) -> None:
    """Ignore a report of a host."""


class FullDisks:
    """The full disks that hosts reported to this computer; safe to use from many threads.

    :param folder: returns the folder of the file with them.
    """

    def __init__(self, folder: Callable[[], Path], now: Callable[[], datetime]) -> None:
        self._folder, self._now = folder, now
        self._lock = threading.Lock()

    def note(self, host: Host, rooms: Iterable[DiskRoom], *, is_complete: bool = False) -> None:
        """Keep what a host reported.

        :param is_complete: these are all of its disks: those that are not full any more are forgotten.
        """
        full = {room.mount: room for room in rooms if room.is_full}
        with self._lock:
            document = json_file.load(self._folder(), FILE)
            entry = document.get(host.identity)
            # Without a change, nothing is written.
            if not full and not (is_complete and entry):
                return
            earlier = {} if is_complete else {item.room.mount: item.room for item in _read(host.name, entry)}
            disks = [[room.percent, room.free_bytes, room.mount] for room in {**earlier, **full}.values()]
            values = {**document, host.identity: {"at": self._now().isoformat(timespec="seconds"), "disks": disks}}
            if not disks:
                del values[host.identity]
            # A read-only folder must not end what reports the disks.
            with suppress(OSError):
                json_file.save(self._folder(), FILE, values)

    def warn(self, on_event: EventHandler) -> Callable[[Host, DiskRoom], None]:
        """Return a handler of reports that keeps them, and emits one warning for each disk, and one more at 97 %."""
        warned: set[tuple[str, str, bool]] = set()

        def handle(host: Host, room: DiskRoom) -> None:
            self.note(host, [room])
            key = (host.name, room.mount, room.percent >= _NEARLY_NOTHING_PERCENT)
            if key not in warned:
                warned.add(key)
                on_event(Event("", "disks", "warning", text=f"{host.name}: {room.text}: {room.fix}"))

        return handle

    def of(self, hosts: Iterable[tuple[str, str]]) -> tuple[FullDisk, ...]:
        """Return the full disks of some hosts.

        :param hosts: (name, identity) of each.
        """
        document = json_file.load(self._folder(), FILE)
        return tuple(disk for name, identity in hosts for disk in _read(name, document.get(identity)))


def _read(host: str, entry: object) -> Sequence[FullDisk]:
    try:
        at = datetime.fromisoformat(entry["at"])  # type: ignore[index]
        reports = [f"{percent} {free_bytes // _KIB} {mount}" for percent, free_bytes, mount in entry["disks"]]  # type: ignore[index]
    # The file is damaged: the next report replaces it.
    except (TypeError, KeyError, ValueError):
        return []
    rooms = map(parse, reports)
    return [FullDisk(host, room, at) for room in rooms if room and at.tzinfo]
