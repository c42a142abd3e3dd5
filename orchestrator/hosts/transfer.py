"""Files and folders from hosts, over SSH, with progress."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core.events import Event, EventHandler
from orchestrator.core.host import Host
from orchestrator.core.next_step import add_advice
from orchestrator.core.transfer_meter import Meter, Progress

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient

TIMEOUT_S = 24 * 3600.0
"""For everything; a host that takes or sends nothing for half a minute ends it sooner."""

MAX_FILES = 1_000_000
RESERVED_BYTES = 256 << 20
"""Room on this computer's disk that is left free: a full disk stops every program."""

_SHOWN = 3


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


@dataclass(frozen=True)
class HostTransfer:
    """Files that were sent to a host, or received from it.

    :param total_bytes: of the files.
    :param left_out: links and special files that were not received, the first ones, with the reason, and files that
        changed meanwhile.
    :param here_bytes: of those received, bytes that an earlier transfer had brought.
    """

    host: str
    source: str
    target: str
    total_bytes: int
    seconds: float
    left_out: tuple[str, ...] = ()
    here_bytes: int = 0


@dataclass(frozen=True)
class Transfers:
    """Transfers over SSH.

    :param find_free_bytes: returns the free bytes of the disk that a folder is on.
    """

    ssh: SshClient
    on_event: EventHandler
    find_free_bytes: Callable[[Path], int] = _free_bytes

    def receive(self, host: Host, remote: str, path: Path) -> HostTransfer:
        """Receive a file, or the content of a folder, of a host into a folder here: what is missing here, or differs.

        :param path: created if missing; files of the same name are replaced.
        :raises HostError: there is nothing, or it could not be written here.
        """
        # Imported when needed: paramiko takes a third of a second.
        from orchestrator.hosts import receiving
        from orchestrator.ssh.tar_stream import UnpackBudget

        began, left_out = self.ssh.clock.monotonic(), list[str]()
        meter = self._meter(host, "receiving", 0)
        free = self.find_free_bytes(next(folder for folder in (path, *path.resolve().parents) if folder.exists()))
        budget = UnpackBudget(
            max_bytes=max(0, free - RESERVED_BYTES),
            max_files=MAX_FILES,
            advice=f"free some space: {free >> 20} MiB were free here, and {RESERVED_BYTES >> 20} MiB stay free; "
            "the same call then receives the rest",
            on_bytes=meter.add,
            disk_full="the disk of this computer is full: not everything was received",
        )
        try:
            size = receiving.receive(
                self.ssh,
                host,
                remote,
                path,
                timeout_s=TIMEOUT_S,
                budget=budget,
                meter=meter,
                # Names are the host's: escaped.
                on_skipped=lambda name, reason: left_out.append(ascii(f"{name}: {reason}"[:120])),
            )
        except KeyboardInterrupt as interrupt:
            if not meter.sent_bytes:
                add_advice(interrupt, "Nothing was received yet.")
            raise
        seconds = self.ssh.clock.monotonic() - began
        here_bytes = max(0, meter.done_bytes - meter.sent_bytes)
        return HostTransfer(host.name, remote, str(path), size, seconds, tuple(left_out[:_SHOWN]), here_bytes)

    def _meter(self, host: Host, phase: str, total_bytes: int) -> Meter:
        def report(progress: Progress) -> None:
            self.on_event(Event(host.name, phase, "progress", text=progress.text))

        self.on_event(Event(host.name, phase, "start"))
        return Meter(self.ssh.clock, total_bytes, report)
