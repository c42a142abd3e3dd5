"""Fetch a run's outputs and logs into ``runs/<id>/``, and read what was fetched.

runs/20261120-141203-k3x/
    record.json     settings, hosts, versions, image, timings per phase, cost
    outputs/        the job's outputs (in a folder per host if every host has a main task)
    logs/           every task of every host: ml-0.main.log, ml-1.worker.log ..., and its install.log
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from orchestrator.core.errors import HostError
from orchestrator.core.host import Host
from orchestrator.hosts import parallel
from orchestrator.jobs.runs import LocatedRun, Run
from orchestrator.ssh.receive import Part, nothing_at
from orchestrator.ssh.tar_stream import LimitReached, UnpackBudget, make_folder

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient

TIMEOUT_S = 3600.0
"""For everything of a host."""

STATE_FILES = ("versions.txt", "image.txt")

MAX_TEXT_BYTES = 16 << 20
"""Size of a file that is read into memory; metrics and lists of packages are a few KiB."""


RESERVED_BYTES = 256 << 20
"""Room on this computer's disk that a fetch leaves free."""


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(path).free


def fetch_budget(
    runs_folder: Path, max_gib: float, max_files: int, find_free_bytes: Callable[[Path], int] = _free_bytes
) -> UnpackBudget:
    """Return what one fetch may write: by the settings, and by the room on this computer's disk.

    :param max_gib: the setting ``max_fetch_gib``.
    :param max_files: the setting ``max_fetch_files``.
    :param find_free_bytes: returns the free bytes of the disk that a folder is on.
    """
    advice = f"[job] max_fetch_gib = {max_gib:g}, max_fetch_files = {max_files}"
    max_bytes, disk_full = int(max_gib * (1 << 30)), ""
    parents = (runs_folder, *runs_folder.resolve().parents)
    free_bytes = find_free_bytes(next(path for path in parents if path.exists()))
    if free_bytes - RESERVED_BYTES < max_bytes:
        # A disk that is filled to the last byte stops every program on this computer.
        max_bytes = max(0, free_bytes - RESERVED_BYTES)
        disk_full = "the disk of this computer is full: not all results were written"
        advice = f"free some space: {free_bytes >> 20} MiB are free here, and {RESERVED_BYTES >> 20} MiB stay free"
    return UnpackBudget(max_bytes, max_files, advice, disk_full=disk_full)


LEFT_OUT_SHOWN = 3
LEFT_OUT_CHARACTERS = 120


@dataclass
class Received:
    """Content that was received from a host.

    :param total_bytes: logs and state included.
    :param outputs: those of the job's outputs that the host has.
    :param left_out: links and special files of the outputs that were not fetched, the first ones, with the reason.
    :param left_out_count: number of all of them.
    """

    total_bytes: int = 0
    outputs: set[str] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)
    left_out_count: int = 0

    def leave_out(self, name: str, reason: str) -> None:
        """Count an entry that is not fetched."""
        self.left_out_count += 1
        if len(self.left_out) < LEFT_OUT_SHOWN:
            # Names, and targets of links, are the host's: escaped.
            self.left_out.append(ascii(f"{name}: {reason}"[:LEFT_OUT_CHARACTERS]))


def left_out_warning(received: Sequence[Received]) -> str:
    """Return the warning about what was left out on some hosts; empty if everything was fetched."""
    shown = [text for host in received for text in host.left_out][:LEFT_OUT_SHOWN]
    rest = sum(host.left_out_count for host in received) - len(shown)
    more = f" and {rest:,} more" if rest else ""
    return f"not fetched: {', '.join(shown)}{more} (only files, and links to files in the same output)" if shown else ""


def absent_warning(received: Sequence[Received], outputs: Sequence[str]) -> str:
    """Return the warning about outputs that no host has, such as two names on one line; empty if there are none.

    The default, ``outputs``, may be absent: a job need not write anything.
    """
    absent = [name for name in outputs if name != "outputs" and not any(name in host.outputs for host in received)]
    return f"[job] outputs (one per line): the job wrote no {', '.join(map(ascii, absent))}" if absent else ""


@dataclass(frozen=True)
class _Fetch:
    """Fetch from one host.

    :param folder: of the run on this computer; nothing is written outside of it.
    """

    ssh: SshClient
    folder: Path
    budget: UnpackBudget
    received: Received = field(default_factory=Received)

    def part(self, host: Host, remote: str, local: Path, file_folder: Path) -> Part:
        """Return an output to be fetched; what is left out of it is counted."""

        def leave_out(name: str, reason: str) -> None:
            self.received.leave_out(f"{local.relative_to(self.folder)}/{name}", reason)

        # Names in it come from the host's own record of the run; they were checked there, and are again.
        if not local.resolve().is_relative_to(self.folder.resolve()):
            raise HostError(f"refused to fetch {remote!a}: it leads outside {self.folder}", where=host.name)
        return Part(remote, local, file_folder, leave_out)


def fetch(ssh: SshClient, located: LocatedRun, folder: Path, budget: UnpackBudget) -> parallel.Outcomes[Received]:
    """Fetch a run's outputs and logs from its hosts, all at once.

    :param folder: of this run on this computer; files that exist are replaced.
    :param budget: bytes and files of all hosts together; each host has a part of its own.
    :return: what was received, per host.
    :raises HostsFailed: nothing could be fetched.
    """
    budgets = budget.split(len(located.members))
    transfers = {host.name: _Fetch(ssh, folder, part) for host, part in zip(located.members, budgets, strict=True)}
    outcomes = parallel.for_each(
        located.members, lambda host: _fetch_host(transfers[host.name], host, located.run), clock=ssh.clock
    )
    is_limit = any(isinstance(error, LimitReached) for error in outcomes.errors.values())
    # At the limit something was fetched: it is recorded as any partial result.
    if outcomes and not outcomes.succeeded and not is_limit:
        outcomes.raise_if_failed("nothing could be fetched")
    return outcomes


def _fetch_host(transfer: _Fetch, host: Host, run: Run) -> Received:
    """Fetch all of a host with one command."""
    folder, run_path = transfer.folder, f"stratus/runs/{run.run_id}"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        logs, state = Path(scratch, "log"), Path(scratch, "state")
        # As they arrive: an error in the outputs, which come last, must not lose them.
        parts = [Part(f"{run_path}/log", logs, on_received=lambda: keep_logs(host, logs, folder / "logs"))]
        if host.name == run.hosts[0]:
            # One host is enough: InstallDeps reports hosts that differ.
            parts.append(Part(f"{run_path}/state", state, on_received=lambda: keep_state(host, state, folder)))
        outputs = _output_parts(transfer, host, run)
        every = [*parts, *outputs.values()]
        sizes = transfer.ssh.fetch_parts(host, every, timeout_s=TIMEOUT_S, budget=transfer.budget)
    if sizes[0] is None:
        raise nothing_at(host, parts[0].remote)
    transfer.received.total_bytes += sum(size_bytes or 0 for size_bytes in sizes)
    # A job that failed early may not have created its outputs; its logs are worth fetching all the same.
    for index, output in enumerate(outputs, len(parts)):
        if sizes[index] is not None:
            transfer.received.outputs.add(output)
    return transfer.received


def _output_parts(transfer: _Fetch, host: Host, run: Run) -> dict[str, Part]:
    """Return the job's outputs on a host, by name."""
    if host.name not in run.main_hosts:
        return {}
    target = transfer.folder / "outputs" / (host.name if len(run.main_hosts) > 1 else "")
    parts: dict[str, Part] = {}
    for output, name in local_names(run.outputs).items():
        local = target / name
        # Also where an earlier fetch wrote a file of this name.
        make_folder(local, transfer.folder)
        remote = f"stratus/runs/{run.run_id}/workdir/{output}"
        parts[output] = transfer.part(host, remote, local, local.parent if name else local)
    return parts


def local_names(outputs: Sequence[str]) -> dict[str, str]:
    """Return output -> folder on this computer: the last part of its path, or all of it where several end alike."""
    if len(outputs) == 1:
        return {outputs[0]: ""}
    paths = {output: PurePosixPath(output) for output in outputs}
    counts = Counter(path.name for path in paths.values())
    alike = {path.parts[0] for path in paths.values() if counts[path.name] > 1}
    # A short name must not be the folder that the others are in either.
    return {
        output: str(path) if counts[path.name] > 1 or path.name in alike else path.name
        for output, path in paths.items()
    }


def keep_logs(host: Host, received: Path, folder: Path) -> None:
    """Move a host's logs to those of the others, and put its name before theirs."""
    folder.mkdir(exist_ok=True)
    for path in received.iterdir():
        _move(path, folder / f"{host.name}.{path.name}", host)


def _move(source: Path, target: Path, host: Host) -> None:
    """Move a file or a folder of a host; what is at the target is replaced, also a folder with content."""
    try:
        if target.is_dir():
            shutil.rmtree(target)
        elif source.is_dir():
            target.unlink(missing_ok=True)
        os.replace(source, target)
    # Also a name that is too long with the host's before it.
    except OSError as error:
        raise HostError(f"cannot write {target.name[:100]!a}: {error.strerror}", where=host.name) from error


def keep_state(host: Host, received: Path, folder: Path) -> None:
    """Move the package versions and image digests of the run to its results."""
    for name in STATE_FILES:
        # The job may have put a folder there.
        if (received / name).is_file():
            _move(received / name, folder / name, host)


@dataclass(frozen=True)
class Metrics:
    """Content of a job's ``metrics.json``.

    :param problem: why it could not be read; empty if it could, or if there is none.
    :param host: the host that wrote them, if several hosts wrote a file.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    host: str = ""


def read_metrics(folder: Path, hosts: Collection[str]) -> Metrics:
    """Return the job's ``metrics.json``, the first one anywhere below ``outputs``; empty without one.

    :param hosts: names of the run's hosts.
    """
    paths = sorted(path for path in (folder / "outputs").rglob("metrics.json") if path.is_file())
    if not paths:
        return Metrics()
    try:
        values = json.loads(_text(paths[0]))
    except (OSError, ValueError, RecursionError) as error:
        return Metrics(problem=f"{paths[0].relative_to(folder)} {_unreadable(error)}")
    # Outputs of several hosts are in a folder each, with its name.
    host = paths[0].relative_to(folder).parts[1] if paths[0].parent.parent != folder and len(paths) > 1 else ""
    return Metrics(values, host=host if host in hosts else "") if isinstance(values, dict) else Metrics()


def _unreadable(error: Exception) -> str:
    """Return why a file of the job's is not read as JSON."""
    if isinstance(error, json.JSONDecodeError):
        # A job that was killed, or whose disk was full, may leave half a file.
        return "is damaged: no JSON"
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or error}"
    if isinstance(error, TooLongError):
        return f"is not read: it is longer than {MAX_TEXT_BYTES >> 20} MiB"
    # Both are valid JSON: nested brackets exhaust the parser's stack, long numbers take it quadratic time.
    deep = "its brackets are nested too deeply"
    long = f"it has a whole number of more than {sys.get_int_max_str_digits()} digits"
    return f"is not read: {deep if isinstance(error, RecursionError) else long}"


class TooLongError(ValueError):
    """A file of the job's is longer than files of its kind are."""


def _text(path: Path) -> str:
    """Return the text of a file of the job's.

    :raises TooLongError: it is longer than files of its kind are.
    """
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise TooLongError
    return path.read_text(encoding="utf-8", errors="replace")


def read_versions(folder: Path) -> dict[str, str]:
    """Return the job's packages and their versions, as ``pip freeze`` listed them on the VM."""
    lines = _state_text(folder / "versions.txt").splitlines()
    return {name: version for name, _, version in (line.partition("==") for line in lines) if version}


def read_image_digests(folder: Path) -> tuple[str, ...]:
    """Return the id and the registry digests of the image that the job ran in; none without one."""
    return tuple(_state_text(folder / "image.txt").split())


def _state_text(path: Path) -> str:
    try:
        return _text(path)
    except (OSError, ValueError):
        return ""


def list_outputs(folder: Path) -> tuple[str, ...]:
    """Return the output files, relative to the run's folder."""
    top = folder / "outputs"
    return tuple(sorted(str(path.relative_to(folder)) for path in top.rglob("*") if path.is_file()))
