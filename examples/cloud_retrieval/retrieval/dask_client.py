"""Dask clients for one machine and for clusters, and a stream of results with bounded concurrency.

On one machine the workers are threads of this process, so no port is opened to the network. On a cluster the scheduler
is already running (address ``tls://...`` or ``tcp://...``); keys and certificates come from Dask's own configuration
(DASK_DISTRIBUTED__COMM__TLS__*).

The modules of the job are sent to a cluster as a zip with ``Client.upload_file``: Dask installs it on the scheduler and
on every worker, including workers that join or restart later. Pickling by value would need no upload, but Dask applies
it to the outermost object of a message only (distributed/protocol/pickle.py), not to the contents of lists and records.
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
    """The cluster cannot be reached. The message is one line."""


# Raised by Dask when the scheduler or all workers are lost, or when a task kills its workers.
NO_WORKER_ERRORS = (NoValidWorkerError, NoWorkerError)
CLUSTER_ERRORS: tuple[type[Exception], ...] = (
    ClusterError,
    KilledWorker,
    CommClosedError,
    CancelledError,
    *NO_WORKER_ERRORS,
)


def error_text(error: Exception, scheduler: str, *, remedy: str = "--blocks 8 needs less") -> str:
    """Return the cause of a cluster failure in one line.

    :param remedy: job-specific advice against running out of memory.
    """
    if isinstance(error, ClusterError):
        return str(error)
    if isinstance(error, KilledWorker):
        return f"{scheduler}: four workers died running the same task; out of memory? {remedy}"
    if isinstance(error, NO_WORKER_ERRORS):
        return f"{scheduler}: all workers are gone"
    return f"{scheduler}: the scheduler is gone ({first_line(error)})"


@dataclass(frozen=True)
class DaskClient:
    """A Dask client with the numbers of workers and of their threads at the start of the run."""

    dask: Any
    workers: int
    threads: int

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Submit one call and return its future.

        ``pure=False`` prevents Dask from returning the result of an earlier call with equal arguments.
        """
        return self.dask.submit(function, *args, pure=False)

    def stream(
        self, function: Callable[..., Any], items: Sequence[Any], *shared: Any, window: int = 0
    ) -> Iterator[tuple[int, Any]]:
        """Yield results of ``function(item, *shared)`` in order of completion, with the index of the item.

        At most ``window`` calls (default: three per thread) are pending at a time, so that results do not accumulate
        faster than they are consumed.
        """
        pending = iter(enumerate(items))
        index_by_key: dict[str, int] = {}
        completed = as_completed()

        def submit_next(count: int) -> None:
            for index, item in islice(pending, count):
                future = self.submit(function, item, *shared)
                index_by_key[future.key] = index
                completed.add(future)

        submit_next(window or 3 * self.threads)
        for future in completed:
            result = future.result()
            yield index_by_key.pop(future.key), result
            # Releases the result on the worker as soon as it is consumed.
            future.release()
            submit_next(1)


@contextmanager
def connect(scheduler: str, *packages: Path) -> Iterator[DaskClient]:
    """Provide workers: threads of this process, or those of the cluster at ``scheduler``.

    :param packages: folders of packages that the workers need besides this one.
    :raises ClusterError: if the scheduler does not answer, or no worker joins within a minute.
    """
    if not scheduler:
        with local_cluster() as client:
            yield DaskClient(client, 1, available_cores())
        return
    with remote_cluster(scheduler, packages) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        yield DaskClient(client, len(workers), sum(worker["nthreads"] for worker in workers.values()))


def available_cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def local_cluster() -> Iterator[Any]:
    """Start workers as threads of this process and yield a client."""
    options: dict[str, Any] = {"n_workers": 1, "threads_per_worker": available_cores(), "processes": False}
    # The dashboard listens on loopback only.
    options |= {"dashboard_address": "127.0.0.1:0", "worker_dashboard_address": "127.0.0.1:0"}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        yield client


@contextmanager
def remote_cluster(scheduler: str, packages: Sequence[Path] = ()) -> Iterator[Any]:
    """Connect to a running cluster, upload the modules of the job, and yield a client.

    The connect timeout is Dask's own setting, distributed.comm.timeouts.connect (30 s).
    """
    try:
        client = Client(scheduler)
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        raise ClusterError(f"{scheduler}: no Dask scheduler at this address ({first_line(error)})") from error
    with client:
        try:
            # Without a worker, submitted tasks would wait forever.
            client.wait_for_workers(1, timeout=JOIN_TIMEOUT_S)
        except TimeoutError as error:
            raise ClusterError(f"{scheduler}: no worker joined within {JOIN_TIMEOUT_S:.0f} s") from error
        upload_packages(client, (Path(__file__).parent, *packages))
        yield client


def upload_packages(client: Any, packages: Sequence[Path]) -> None:
    """Upload packages to the scheduler and all workers, in this order."""
    with tempfile.TemporaryDirectory() as folder:
        for package in packages:
            client.upload_file(str(build_zip(package, Path(folder))))


def build_zip(package: Path, folder: Path) -> Path:
    """Build a zip of a package's modules whose name contains the hash of its content.

    Workers that already hold an older version therefore cannot confuse the two.
    """
    sources = sorted(package.glob("*.py"))
    content = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    path = folder / f"{package.name}-{content[:12]}.zip"
    with zipfile.ZipFile(path, "w") as bundle:
        # Sorted and without timestamps in the name: the same content always gets the same name.
        for source in sources:
            bundle.write(source, f"{package.name}/{source.name}")
    return path


def first_line(error: BaseException) -> str:
    """Return the first line of an error message, or the type of the error if it has no message."""
    return (str(error).splitlines() or [type(error).__name__])[0]
