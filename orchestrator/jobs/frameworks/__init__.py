"""How each framework lays a job out on hosts: from an :class:`~orchestrator.jobs.tasks.Assignment` to tasks and files.

Pure, as :mod:`orchestrator.jobs.build` is. What a framework takes on one VM may be another thing than on many.
"""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.jobs.frameworks import dask, mesh, mxnet, plain, torchrun
from orchestrator.jobs.tasks import Files, JobLayout, Task

Framework = Callable[[JobLayout], tuple[list[Task], Files]]

SINGLE: dict[str, Framework] = {"horovod": mesh.horovod_alone, "torchrun": torchrun.alone, "mxnet": mxnet.many}
"""On one VM; frameworks that are not named run the command as it is."""

MULTI: dict[str, Framework] = {
    "dask": dask.many,
    "horovod": mesh.horovod,
    "mpi": mesh.mpi,
    "torchrun": torchrun.many,
    "mxnet": mxnet.many,
}
"""On many VMs; frameworks that are not named run the command on each."""


def lay_out(given: JobLayout, *, multi: bool) -> tuple[list[Task], Files]:
    """Return a job's tasks, and the files that each of its hosts gets."""
    chosen = (MULTI if multi else SINGLE).get(given.spec.framework, plain.each)
    tasks, files = chosen(given)
    hostfile = "".join(f"{host.private_address}\n" for host in given.hosts)
    return tasks, files | {"hostfile": hostfile.encode()}
