"""Files and folders from this computer to hosts: resumed after a cut, checked by SHA-256, passed on between hosts."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from orchestrator.core.clock import Clock
from orchestrator.core.errors import HostError, UsageError
from orchestrator.core.events import Event, EventHandler
from orchestrator.core.host import Host
from orchestrator.core.next_step import NextStep
from orchestrator.hosts import parallel
from orchestrator.hosts.transfer import HostTransfer
from orchestrator.install import upload
from orchestrator.install.installer import OTHER_INSTALL, HostInstall, Installer
from orchestrator.install.steps import InstallPlan, Step

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient

TIMEOUT_S = 24 * 3600.0

SIGN_AFTER_S, MAX_PAUSE_S = 2.0, 60.0
"""Seconds after which the listing of a large folder is reported, and longest time between two reports."""

NAMES_SHOWN = 3
MAX_LEFT_OUT = 1000
_PLACE_FAILED = "place failed: "
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class PlaceRefused(HostError):
    """Refusal of the place on a host: it cannot be written, and the same call would fail again."""

    json_name = "PlaceRefused"


@dataclass(frozen=True)
class HostTransfers:
    """Files that were sent to several hosts.

    :param failed: name of every host that failed -> why.
    """

    source: str
    transfers: tuple[HostTransfer, ...]
    failed: Mapping[str, Exception] = field(default_factory=dict)

    @property
    def is_repeatable(self) -> bool:
        """True if the same call may send the rest."""
        return not all(isinstance(error, PlaceRefused) for error in self.failed.values())


@dataclass(frozen=True)
class Sending:
    """Sends files and folders; what an interrupted call has sent is not sent again.

    :param logs_folder: returns the folder of the hosts' install logs.
    """

    ssh: SshClient
    on_event: EventHandler
    logs_folder: Callable[[], Path]

    def send(self, hosts: Sequence[Host], path: Path, remote: str = "") -> HostTransfers:
        """Send a file or a folder to hosts; what is there under the same names is replaced.

        :param remote: its path there, absolute or below the login's home; empty for the same name.
        :raises UsageError: ``path`` does not exist, or cannot be read.
        """
        target = remote or path.resolve().name
        listing = upload.Listing(_Report(self.ssh.clock, self.on_event, str(path)).add)
        plan, size_bytes = self._plan(path, target, listing)
        self._report_left_out(path, listing.others)
        again = NextStep("Send", str(path))
        installer = Installer(
            self.ssh,
            plan,
            self.logs_folder(),
            self._handle,
            timeout_s=TIMEOUT_S,
            again=again,
            host_count=len(hosts),
        )

        def send_to(host: Host) -> HostInstall:
            try:
                return installer(host)
            except HostError as error:
                if not error.message.startswith(_PLACE_FAILED):
                    raise
                message = error.message.removeprefix(_PLACE_FAILED)
                raise PlaceRefused(message, where=error.where, fix=error.fix) from error

        outcomes = parallel.for_each(hosts, send_to, clock=self.ssh.clock)
        left_out = tuple(listing.others[:MAX_LEFT_OUT])
        transfers = tuple(
            HostTransfer(name, str(path), target, size_bytes, outcome.unwrap().seconds, left_out)
            for name, outcome in outcomes.items()
            if outcome.error is None
        )
        return HostTransfers(str(path), transfers, outcomes.errors)

    def _handle(self, event: Event) -> None:
        # Besides the event of the step, one with the reason, which the report has.
        if event.state != "failed" or not event.text:
            self.on_event(replace(event, phase="same send" if event.phase == OTHER_INSTALL else event.phase))

    def _report_left_out(self, path: Path, names: Sequence[str]) -> None:
        if names:
            more = f" and {len(names) - NAMES_SHOWN} more" if names[NAMES_SHOWN:] else ""
            shown = ", ".join(str(path / name) for name in names[:NAMES_SHOWN])
            text = f"not sent, as links to folders or to nothing and special files are not: {shown}{more}"
            self.on_event(Event("", "send", "warning", text=text))

    def _plan(self, path: Path, target: str, listing: upload.Listing) -> tuple[InstallPlan, int]:
        if not path.is_file() and not path.is_dir():
            raise UsageError(_refusal(path), where=str(path))
        # By source and target: two sends at a time do not disturb one another, and a second call finds the first.
        identity = hashlib.sha256(os.fsencode(f"{path.resolve()}\0{target}")).hexdigest()[:12]
        name, place = f"send-{identity}", f"received/{identity}"
        try:
            # Everything that the user names is sent, also what looks like a credential.
            hashes = self.logs_folder().with_name("hashes")
            files = upload.scan(name, path, place, allowed=("*",), hashes_folder=hashes, listing=listing)
        except OSError as error:
            raise UsageError(f"cannot be read: {error.strerror}", where=str(error.filename or path)) from error
        steps = (
            Step("send", "parcel.sh", (files.name, files.digest, files.remote_path), files),
            Step("place", "place.sh", (place, _posix(target), "folder" if path.is_dir() else "file")),
        )
        # A send waits for no install, and for no other send.
        bundle = {"lock": f"{name}\n".encode()}
        if listing.bare_folders:
            bundle["folders"] = b"".join(os.fsencode(folder) + b"\0" for folder in listing.bare_folders)
        return InstallPlan(steps, bundle), sum(file.size_bytes for file in files.files)


class _Report:
    """Report of a listing that takes long."""

    def __init__(self, clock: Clock, on_event: EventHandler, path: str) -> None:
        self._clock, self._on_event, self._path = clock, on_event, path
        self._files, self._pause_s = 0, SIGN_AFTER_S
        self._due = clock.monotonic() + SIGN_AFTER_S

    def add(self) -> None:
        """Count a file."""
        self._files += 1
        if self._clock.monotonic() >= self._due:
            text = f"reading {self._path}: {self._files:,} files so far"
            self._on_event(Event("", "send", "progress", text=text))
            self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)
            self._due = self._clock.monotonic() + self._pause_s


def _refusal(path: Path) -> str:
    """Return why a path cannot be sent."""
    if path.is_symlink() and not path.exists():
        return f"a link that leads nowhere: {os.readlink(path)} does not exist"
    if not path.exists():
        return "no such file or folder"
    mode = path.stat().st_mode
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
    return f"{kind}: only files and folders are sent"


def _posix(target: str) -> str:
    """Return a path without a leading dash, and with the slash at its end that makes it a folder."""
    return str(PurePosixPath(target)) + "/" * (target.endswith("/") and target != "/")
