"""Files and folders to hosts and back, over SSH, with progress; a file is checked by its SHA-256."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from orchestrator.core.errors import HostError, UsageError
from orchestrator.core.events import Event, EventHandler
from orchestrator.core.host import Host
from orchestrator.core.transfer_meter import Meter, Progress

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient

TIMEOUT_S = 24 * 3600.0
"""For everything; a host that takes or sends nothing for half a minute ends it sooner."""

_BLOCK_BYTES = 256 << 10
_SHOWN = 3


@dataclass(frozen=True)
class HostTransfer:
    """Files that were sent to a host, or received from it.

    :param total_bytes: of the files; as sent, compressed, for a folder that was sent.
    :param left_out: links and special files that were not received, the first ones, with the reason.
    """

    host: str
    source: str
    target: str
    total_bytes: int
    seconds: float
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Transfers:
    """Transfers over SSH."""

    ssh: SshClient
    on_event: EventHandler

    def send(self, host: Host, path: Path, remote: str = "") -> HostTransfer:
        """Send a file or a folder to a host; what is there under the same names is replaced.

        :param remote: its path there, absolute or below the login's home; empty for the same name.
        :raises UsageError: ``path`` does not exist.
        :raises HostError: it could not be written there, or arrived damaged.
        """
        if not path.is_file() and not path.is_dir():
            raise UsageError("no such file or folder", where=str(path))
        began, target = self.ssh.clock.monotonic(), remote or path.resolve().name
        meter = self._meter(host, "sending", path.stat().st_size if path.is_file() else 0)
        try:
            if path.is_dir():
                self.ssh.send(host, path, target, timeout_s=TIMEOUT_S, on_bytes=meter.add)
            else:
                self._send_file(host, path, _file_target(path, target), meter)
        except OSError as error:
            raise UsageError(f"cannot be read: {error.strerror}", where=str(error.filename or path)) from error
        seconds = self.ssh.clock.monotonic() - began
        return HostTransfer(host.name, str(path), target, meter.sent_bytes, seconds)

    def receive(self, host: Host, remote: str, path: Path) -> HostTransfer:
        """Receive a file, or the content of a folder, of a host into a folder here.

        :param path: created if missing; files of the same name are replaced.
        :raises HostError: there is nothing, or it could not be written here.
        """
        from orchestrator.ssh.tar_stream import UnpackBudget

        began, left_out = self.ssh.clock.monotonic(), list[str]()
        meter = self._meter(host, "receiving", 0)
        budget = UnpackBudget(max_bytes=1 << 50, max_files=10_000_000, on_bytes=meter.add)
        size = self.ssh.fetch(
            host,
            remote,
            path,
            timeout_s=TIMEOUT_S,
            budget=budget,
            # Names are the host's: escaped.
            on_skipped=lambda name, reason: left_out.append(ascii(f"{name}: {reason}"[:120])),
        )
        seconds = self.ssh.clock.monotonic() - began
        return HostTransfer(host.name, remote, str(path), size, seconds, tuple(left_out[:_SHOWN]))

    def _send_file(self, host: Host, path: Path, target: str, meter: Meter) -> None:
        digest, lines = hashlib.sha256(), list[str]()
        place = shlex.quote(target if target.startswith("/") else f"./{target}")
        # Under another name until it is complete: half a file must not look like the file.
        parent = shlex.quote(str(PurePosixPath(target).parent))
        command = f"mkdir -p -- {parent} && cat >{place}.part && sha256sum <{place}.part"
        blocks = _blocks(path, [digest.update, lambda block: meter.add(len(block))])
        status = self.ssh.stream(host, command, stdin=blocks, on_line=lines.append, timeout_s=TIMEOUT_S)
        if status:
            raise HostError(f"could not write {target}: {' '.join(lines)[:200]}", where=host.name)
        if not lines or lines[-1].split()[:1] != [digest.hexdigest()]:
            raise HostError(f"{target} arrived damaged", where=host.name, fix="run the same command again")
        self.ssh.run(host, f"mv -f -- {place}.part {place}").raise_if_failed(f"could not write {target}")

    def _meter(self, host: Host, phase: str, total_bytes: int) -> Meter:
        def report(progress: Progress) -> None:
            self.on_event(Event(host.name, phase, "progress", text=progress.text))

        self.on_event(Event(host.name, phase, "start"))
        return Meter(self.ssh.clock, total_bytes, report)


def _file_target(path: Path, target: str) -> str:
    """Return the path of a file there; a target that ends in a slash is a folder."""
    return str(PurePosixPath(target) / path.name) if target.endswith("/") else target


def _blocks(path: Path, notes: list[Callable[[bytes], object]]) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            for note in notes:
                note(block)
            yield block
