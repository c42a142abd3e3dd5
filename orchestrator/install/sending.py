"""Files and folders from this computer to hosts: resumed after a cut, checked by SHA-256, passed on between hosts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from orchestrator.core.errors import UsageError
from orchestrator.core.events import EventHandler
from orchestrator.core.host import Host
from orchestrator.core.next_step import NextStep
from orchestrator.hosts import parallel
from orchestrator.hosts.transfer import HostTransfer
from orchestrator.install import upload
from orchestrator.install.installer import Installer
from orchestrator.install.steps import InstallPlan, Step

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient

TIMEOUT_S = 24 * 3600.0


@dataclass(frozen=True)
class HostTransfers:
    """Files that were sent to several hosts.

    :param failed: name of every host that failed -> why.
    """

    source: str
    transfers: tuple[HostTransfer, ...]
    failed: Mapping[str, Exception] = field(default_factory=dict)


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
        plan, size_bytes = self._plan(path, target)
        again = NextStep("Send", str(path))
        installer = Installer(
            self.ssh,
            plan,
            self.logs_folder(),
            self.on_event,
            timeout_s=TIMEOUT_S,
            again=again,
            host_count=len(hosts),
        )
        outcomes = parallel.for_each(hosts, installer, clock=self.ssh.clock)
        transfers = tuple(
            HostTransfer(name, str(path), target, size_bytes, outcome.unwrap().seconds)
            for name, outcome in outcomes.items()
            if outcome.error is None
        )
        return HostTransfers(str(path), transfers, outcomes.errors)

    def _plan(self, path: Path, target: str) -> tuple[InstallPlan, int]:
        if not path.is_file() and not path.is_dir():
            raise UsageError("no such file or folder", where=str(path))
        # By source and target: two sends at a time do not disturb one another, and a second call finds the first.
        identity = hashlib.sha256(os.fsencode(f"{path.resolve()}\0{target}")).hexdigest()[:12]
        name, place = f"send-{identity}", f"received/{identity}"
        try:
            # Everything that the user names is sent, also what looks like a credential.
            files = upload.scan(name, path, place, allowed=("*",), hashes_folder=self.logs_folder().with_name("hashes"))
        except OSError as error:
            raise UsageError(f"cannot be read: {error.strerror}", where=str(error.filename or path)) from error
        steps = (
            Step("send", "parcel.sh", (files.name, files.digest, files.remote_path), files),
            Step("place", "place.sh", (place, _posix(target), "folder" if path.is_dir() else "file")),
        )
        return InstallPlan(steps), sum(file.size_bytes for file in files.files)


def _posix(target: str) -> str:
    """Return a path without a leading dash, and with the slash at its end that makes it a folder."""
    return str(PurePosixPath(target)) + "/" * (target.endswith("/") and target != "/")
