"""Results that VMs wrote to S3 themselves, at the end of a run and at a spot notice: their places, and their fetch.

Each host with a main task writes one archive, ``<results>/<run id>/<host>.tar.gz``: outputs, logs, state.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.core import cost, json_file
from orchestrator.core.clock import Clock
from orchestrator.core.errors import HostError, StratusError, UsageError
from orchestrator.core.host import Host
from orchestrator.hosts.parallel import Outcome, Outcomes
from orchestrator.jobs import query, record, results
from orchestrator.jobs.build import JobPlan
from orchestrator.jobs.record import RunRecord
from orchestrator.jobs.results import Received
from orchestrator.jobs.runs import RUN_ID, Run
from orchestrator.ssh.tar_stream import BLOCK_BYTES, ChunkReader, UnpackBudget, make_folder, unpack

SUFFIX = ".tar.gz"
MAX_LISTING_BYTES = 16 << 20
"""Of the list of a run, which has a line per task."""


class ResultStore(Protocol):
    """S3, as far as results need it."""

    def writable(self, url: str) -> str:
        """Return a URL that writes one object, without credentials."""
        ...

    def names(self, url: str) -> list[str]:
        """Return the names of objects and folders of one level."""
        ...

    def fetch(self, url: str, path: Path, max_bytes: int) -> None:
        """Download an object.

        :raises StratusError: it is larger, or could not be downloaded.
        """
        ...


def _archive(folder: str, run_id: str, host: str) -> str:
    return f"{folder.rstrip('/')}/{run_id}/{host}{SUFFIX}"


@dataclass(frozen=True)
class BucketResults:
    """Results in S3 of the runs of one computer.

    :param store: None where there is no S3.
    :param budget: returns what a fetch may write.
    :param job_results: returns the place that the present job names, for runs of other computers.
    """

    store: ResultStore | None
    runs_folder: Path
    budget: Callable[[], UnpackBudget]
    clock: Clock
    job_results: Callable[[], str]

    def place_files(self, plan: JobPlan) -> dict[str, dict[str, bytes]]:
        """Return host -> name -> content of the file that ``results.sh`` reads; empty if the job names no place."""
        folder, store = plan.spec.options.results, self.store
        if not folder or store is None:
            return {}
        outputs = "".join(f"{name}\n" for name in plan.spec.options.outputs)
        urls = {host: store.writable(_archive(folder, plan.run_id, host)) for host in plan.main_hosts}
        return {host: {"results": f"{url}\n{outputs}".encode()} for host, url in urls.items()}

    def fetch(self, id_suffix: str) -> RunRecord | None:
        """Fetch a run from S3; None if there is nothing of it.

        :param id_suffix: id of the run, or the end of it; empty for the newest.
        """
        place = self._find(self.store, id_suffix) if self.store else None
        if place is None or self.store is None:
            return None
        (folder_url, run_id), started_at = place, self.clock.monotonic()
        names = [name for name in self.store.names(f"{folder_url}/{run_id}") if name.endswith(SUFFIX)]
        folder = self.runs_folder / run_id
        outcomes, listings = _Archives(self.store, folder, run_id, self.budget()).unpack_all(folder_url, names)
        run = _run(listings, run_id)
        _arrange(run, folder, outcomes)
        seconds, now = self.clock.monotonic() - started_at, self.clock.now()
        return record.complete_record(folder, run, outcomes, cost.UNKNOWN_BILL, seconds=seconds, fetched_at=now)

    def _find(self, store: ResultStore, id_suffix: str) -> tuple[str, str] | None:
        """Return folder and run id of the newest run whose id ends so, and that has results in S3."""
        for path in sorted(self.runs_folder.glob(f"*{id_suffix}/{record.FILE}"), reverse=True):
            folder, run_id = json_file.load(path.parent, record.FILE).get("results"), path.parent.name
            if isinstance(folder, str) and folder and RUN_ID.fullmatch(run_id):
                folder = folder.rstrip("/")
                return (folder, run_id) if store.names(f"{folder}/{run_id}") else None
        if not (folder := self._place_of_job()):
            return None
        run_ids = [name for name in store.names(folder) if RUN_ID.fullmatch(name) and name.endswith(id_suffix)]
        return (folder, max(run_ids)) if run_ids else None

    def _place_of_job(self) -> str:
        try:
            return self.job_results().rstrip("/")
        # Another job may be in the settings now, or none.
        except StratusError:
            return ""


class _Archives:
    """Archives of one run, unpacked one after another."""

    def __init__(self, store: ResultStore, folder: Path, run_id: str, budget: UnpackBudget) -> None:
        self._store, self._folder, self._run_id, self._budget = store, folder, run_id, budget

    def unpack_all(self, folder_url: str, names: list[str]) -> tuple[Outcomes[Received], dict[str, str]]:
        """Return what was received of each host, and its list of the run."""
        outcomes, listings = [], {}
        # A VM that writes without end must not use up what the others need.
        for name, budget in zip(sorted(names), self._budget.split(len(names)), strict=True):
            host = Host(name.removesuffix(SUFFIX), "", "", 22, "", Path(), "", "")
            received = Received()
            try:
                self._unpack(f"{folder_url}/{self._run_id}/{name}", host, received, budget)
                listings[host.name] = self._listing(host)
                outcomes.append(Outcome(host, received, None, 0.0))
            except (StratusError, OSError, tarfile.TarError, EOFError) as error:
                outcomes.append(Outcome(host, None, _host_error(error, host), 0.0))
        return Outcomes(outcomes), listings

    def _listing(self, host: Host) -> str:
        path = self._folder / ".bucket" / host.name / "state/listing"
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(MAX_LISTING_BYTES).decode(errors="replace")

    def _unpack(self, url: str, host: Host, received: Received, budget: UnpackBudget) -> None:
        # The name of a host comes from the bucket.
        if host.name in ("", ".", "..") or "/" in host.name:
            raise HostError(f"refused: {host.name!a} is not the name of a VM")
        target = self._folder / ".bucket" / host.name
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder) as scratch:
            archive = Path(scratch, "archive")
            self._store.fetch(url, archive, self._budget.max_bytes)
            received.total_bytes = archive.stat().st_size
            unpack(ChunkReader(_blocks(archive)), target, received.leave_out, budget)


def _host_error(error: Exception, host: Host) -> StratusError:
    if isinstance(error, StratusError):
        return error
    if isinstance(error, OSError) and error.strerror:
        return HostError(f"cannot write {error.filename or 'its results'}: {error.strerror}", where=host.name)
    return HostError(f"its archive in S3 is damaged: {error}", where=host.name)


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _run(listings: dict[str, str], run_id: str) -> Run:
    runs = [run for run in query.combine(listings).runs if run.run_id == run_id]
    if not runs:
        raise UsageError(f"the results of {run_id} in S3 are damaged")
    return runs[0]


def _arrange(run: Run, folder: Path, outcomes: Outcomes[Received]) -> None:
    """Move what was unpacked to where a fetch from the VMs puts it."""
    for host in outcomes.succeeded:
        source = folder / ".bucket" / host
        results.keep_logs(outcomes[host].host, source / "log", folder / "logs")
        if host == run.hosts[0]:
            results.keep_state(outcomes[host].host, source / "state", folder)
        target = folder / "outputs" / (host if len(run.main_hosts) > 1 else "")
        for output, name in results.local_names(run.outputs).items():
            if (source / "workdir" / output).exists():
                _replace(source / "workdir" / output, target / name, folder)
                outcomes[host].unwrap().outputs.add(output)
    shutil.rmtree(folder / ".bucket", ignore_errors=True)


def _replace(source: Path, target: Path, folder: Path) -> None:
    if source.is_dir():
        make_folder(target, folder)
        for path in source.iterdir():
            _replace(path, target / path.name, folder)
        return
    if target.is_dir() and not target.is_symlink():
        target = target / source.name
    make_folder(target.parent, folder)
    if target.is_symlink():
        # Not followed: what it leads to is not the run's.
        target.unlink()
    shutil.move(source, target)
