"""``%load_ext stratus``: the verbs in a notebook, on AWS or, after ``%stratus --local``, on the embedded cloud."""

from __future__ import annotations

from typing import Any

from run_interface import load_ipython_extension, unload_ipython_extension

__all__ = ["client", "load_ipython_extension", "unload_ipython_extension"]


def client(run: str = "", *, check: bool = True) -> Any:
    """Return a ``distributed.Client`` of the Dask cluster of a run that works, through a tunnel, with its certificates.

    :param run: its id, or the end of it; the newest when empty.
    :param check: refuse a cluster whose versions of Python and Dask differ from those here.
    """
    from orchestrator.interface.shell import app, dask_client

    return dask_client.connect(app.current_workspace(), run, check=check)
