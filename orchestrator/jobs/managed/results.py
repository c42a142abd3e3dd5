"""Results of a training job: its archives, which are hostile input, unpacked into runs/<id>/ as those of hosts."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.core.errors import HostError
from orchestrator.jobs.results import Received
from orchestrator.ssh.tar_stream import ChunkReader, LimitReached, UnpackBudget, make_folder, unpack

VERSIONS = "versions.txt"


@dataclass(frozen=True)
class ArchiveUnpacker:
    """Unpacks the archives of one run.

    :param folder: of the run on this computer; nothing is written outside of it.
    :param hosts: names of the containers, the first one first.
    :param main_hosts: those with a main task: of several, each has a folder of its own in ``outputs``.
    """

    folder: Path
    hosts: Sequence[str]
    main_hosts: Sequence[str]
    budget: UnpackBudget
    received: Received = field(default_factory=Received)

    def model(self, chunks: Iterable[bytes]) -> None:
        """Unpack ``model.tar.gz``: the outputs of the first host.

        :raises HostError: it is no archive, or names a place outside.
        """
        self._unpack(chunks, self._outputs(self.hosts[0]), "model.tar.gz")

    def output(self, chunks: Iterable[bytes]) -> None:
        """Unpack ``output.tar.gz``: logs and versions, and outputs of other hosts.

        :raises HostError: it is no archive, or names a place outside.
        """
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            self._unpack(chunks, Path(scratch), "output.tar.gz")
            # By the names that the run has: any other entry of the archive is dropped.
            for host in self.hosts:
                self._take(Path(scratch) / host, host)

    def _outputs(self, host: str) -> Path:
        top = self.folder / "outputs"
        return top / host if len(self.main_hosts) > 1 else top

    def _unpack(self, chunks: Iterable[bytes], folder: Path, name: str) -> None:
        make_folder(folder, self.folder)

        def leave_out(entry: str, reason: str) -> None:
            self.received.leave_out(f"{folder.relative_to(self.folder)}/{entry}", reason)

        try:
            self.received.total_bytes += unpack(ChunkReader(chunks), folder, leave_out, self.budget)
        except tarfile.ReadError as error:
            raise HostError(f"{name} is damaged: {error}", where=str(self.folder)) from error

    def _take(self, source: Path, host: str) -> None:
        logs = self.folder / "logs"
        make_folder(logs, self.folder)
        for path in sorted((source / "logs").glob("*")):
            if path.is_file():
                path.replace(logs / f"{host}.{path.name}")
        if (source / "outputs").is_dir():
            shutil.copytree(source / "outputs", self._outputs(host), dirs_exist_ok=True)
        if (source / VERSIONS).is_file():
            (source / VERSIONS).replace(self.folder / VERSIONS)


def write_log(folder: Path, host: str, lines: Iterable[str]) -> None:
    """Write the log of a host's main task, unless the archive had it."""
    path = folder / "logs" / f"{host}.main.log"
    make_folder(path.parent, folder)
    if not path.exists():
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="replace")


__all__ = ["ArchiveUnpacker", "LimitReached", "write_log"]
