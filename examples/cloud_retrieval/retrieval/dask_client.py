"""One machine or many behind one function: a Dask client, and a stream of results with a bound on what is under way.

On one machine the workers are threads of this process, so nothing listens on any port. On many, a scheduler is
already running (address ``tls://...`` or ``tcp://...``); keys and certificates come from Dask's own configuration
(DASK_DISTRIBUTED__COMM__TLS__*).

The job's modules are shipped to a cluster as a zip by ``Client.upload_file``: Dask installs it on the scheduler and on
every worker, those that join or restart later too. Pickling by value would need no upload, but Dask applies it to the
outermost object of a message only (distributed/protocol/pickle.py), not to what lies inside lists and records.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from distributed import Client, KilledWorker, LocalCluster, as_completed
from distributed.comm.core import CommClosedError
from distributed.scheduler import NoValidWorkerError, NoWorkerError

JOIN_TIMEOUT_S = 60.0


class ClusterError(RuntimeError):
    """The cluster cannot be reached. One line."""


# What a lost scheduler, lost workers, or work that kills its workers look like from here.
NO_WORKER_ERRORS = (NoValidWorkerError, NoWorkerError)
CLUSTER_ERRORS: tuple[type[Exception], ...] = (
    ClusterError,
    KilledWorker,
    CommClosedError,
    CancelledError,
    *NO_WORKER_ERRORS,
)


def error_text(error: Exception, scheduler: str, *, remedy: str = "--blocks 8 needs less") -> str:
    """One line on what went wrong with the cluster.

    :param remedy: what a job can do about too little memory.
    """
    if isinstance(error, ClusterError):
        return str(error)
    if isinstance(error, KilledWorker):
        return f"{scheduler}: workers died four times at the same task; too little memory? {remedy}"
    if isinstance(error, NO_WORKER_ERRORS):
        return f"{scheduler}: all workers are gone"
    return f"{scheduler}: the scheduler is gone ({first_line(error)})"


@dataclass(frozen=True)
class DaskClient:
    """A client with the number of its workers and of their threads at the start."""

    dask: Any
    workers: int
    threads: int

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """A future of one call; never taken for an earlier call with the same arguments."""
        return self.dask.submit(function, *args, pure=False)

    def stream(
        self, function: Callable[..., Any], items: Sequence[Any], *shared: Any, window: int = 0
    ) -> Iterator[tuple[int, Any]]:
        """Results of ``function(item, *shared)`` as they come, with the item's number.

        At most ``window`` calls (default: three per thread) are under way: results cannot pile up faster than they
        are taken.
        """
        waiting = iter(enumerate(items))
        numbers: dict[str, int] = {}
        ready = as_completed()

        def more(count: int) -> None:
            for number, item in islice(waiting, count):
                future = self.submit(function, item, *shared)
                numbers[future.key] = number
                ready.add(future)

        more(window or 3 * self.threads)
        for future in ready:
            result = future.result()
            yield numbers.pop(future.key), result
            future.release()
            more(1)


@contextmanager
def connect(scheduler: str, *others: Path) -> Iterator[DaskClient]:
    """Workers to run tasks on: threads of this process, or those of the cluster at ``scheduler``.

    :param others: folders of packages that a cluster's workers need besides this one.
    :raises ClusterError: when nobody answers, or no worker joins within a minute.
    """
    if not scheduler:
        with local_cluster() as client:
            yield DaskClient(client, 1, available_cores())
        return
    with remote_cluster(scheduler, others) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        yield DaskClient(client, len(workers), sum(worker["nthreads"] for worker in workers.values()))


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def local_cluster() -> Iterator[Any]:
    """A client whose workers are threads of this process."""
    options: dict[str, Any] = {"n_workers": 1, "threads_per_worker": available_cores(), "processes": False}
    # Its pages listen on this machine alone.
    options |= {"dashboard_address": "127.0.0.1:0", "worker_dashboard_address": "127.0.0.1:0"}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        yield client


@contextmanager
def remote_cluster(scheduler: str, others: Sequence[Path] = ()) -> Iterator[Any]:
    """A client of a running cluster, its workers provided with this job's modules.

    How long to knock at the scheduler is Dask's own setting, distributed.comm.timeouts.connect (30 s).
    """
    try:
        client = Client(scheduler)
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        raise ClusterError(f"{scheduler}: no Dask scheduler answers there ({first_line(error)})") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=JOIN_TIMEOUT_S)
        except TimeoutError as error:
            raise ClusterError(f"{scheduler}: no worker joined within {JOIN_TIMEOUT_S:.0f} s") from error
        upload_packages(client, (Path(__file__).parent, *others))
        yield client


def upload_packages(client: Any, packages: Sequence[Path]) -> None:
    """Give scheduler and workers some packages, in this order."""
    with tempfile.TemporaryDirectory() as folder:
        for package in packages:
            client.upload_file(str(build_zip(package, Path(folder))))


def build_zip(package: Path, folder: Path) -> Path:
    """A zip of a package's modules, named by their content: workers that keep an older one cannot mix the two up."""
    sources = sorted(package.glob("*.py"))
    content = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    path = folder / f"{package.name}-{content[:12]}.zip"
    with zipfile.ZipFile(path, "w") as bundle:
        for source in sources:
            bundle.write(source, f"{package.name}/{source.name}")
    return path


def first_line(error: BaseException) -> str:
    """An error's first line, or its kind."""
    return (str(error).splitlines() or [type(error).__name__])[0]
