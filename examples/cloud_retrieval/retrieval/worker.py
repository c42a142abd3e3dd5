"""The environment of a task: name of its worker, for error messages, and scratch space.

distributed is imported inside the functions that use it, so that the package also imports without it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def current_worker() -> Any:
    """Return the Dask worker that runs the calling task, or None outside tasks."""
    from distributed import get_worker

    try:
        return get_worker()
    except ValueError:
        return None


def host_prefix() -> str:
    """Return ``name (address): `` of the worker that runs the calling task; empty in a run on one machine."""
    worker = current_worker()
    # Workers that are threads of this process have inproc addresses.
    if worker is None or worker.address.startswith("inproc://"):
        return ""
    address = worker.address.rpartition(":")[0].rpartition("/")[2]
    has_name = isinstance(worker.name, str) and "://" not in worker.name
    return f"{worker.name} ({address}): " if has_name else f"{address}: "


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Create a temporary folder that is removed on exit.

    It lies in the worker's ``--local-directory``: Dask removes that folder when the next worker starts there, also
    after the previous one was killed. A folder in /tmp would be left behind.
    """
    worker = current_worker()
    with tempfile.TemporaryDirectory(prefix="cloud_retrieval-", dir=worker and worker.local_directory) as folder:
        yield Path(folder)
