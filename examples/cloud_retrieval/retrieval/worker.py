"""What a task knows of the machine it runs on: its name, for errors, and a scratch folder.

distributed is imported by the function that uses it, as boto3 is in the package's other modules.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def current_worker() -> Any:
    """The Dask worker that runs this; None outside tasks."""
    from distributed import get_worker

    try:
        return get_worker()
    except ValueError:
        return None


def host_prefix() -> str:
    """``name (address): `` of the worker that runs this; empty in a run on one machine."""
    here = current_worker()
    if here is None or here.address.startswith("inproc://"):
        return ""
    address = here.address.rpartition(":")[0].rpartition("/")[2]
    named = isinstance(here.name, str) and "://" not in here.name
    return f"{here.name} ({address}): " if named else f"{address}: "


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder that is removed at the end.

    It lies in the worker's own (``--local-directory``): of a worker that was killed, Dask removes that when the next
    one starts there, while nobody looks after what it left in /tmp.
    """
    here = current_worker()
    with tempfile.TemporaryDirectory(prefix="cloud_retrieval-", dir=here and here.local_directory) as folder:
        yield Path(folder)
