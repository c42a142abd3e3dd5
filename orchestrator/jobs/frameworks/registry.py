"""Registry of frameworks; ``job.ini``, the scripts of a run and all questions about a framework follow from it.

Every module of this package that has a ``FRAMEWORK`` is one of them:

    FRAMEWORK = Framework("dask", multi=plan_cluster, scripts=("dask_main.sh", "dask_gate.py"), has_dashboard=True)
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from orchestrator.core import remote_scripts
from orchestrator.core.errors import UsageError
from orchestrator.jobs.tasks import Files, JobLayout, Task

TaskPlan = tuple[list[Task], Files]
"""Tasks of a run, and the files that each of its hosts gets."""

PlanTasks = Callable[[JobLayout], TaskPlan]


def command_on_each_host(layout: JobLayout) -> TaskPlan:
    """Return the job's command as a main task on every host."""
    return [layout.task(host, "main", layout.command) for host in layout.hosts], {}


@dataclass(frozen=True)
class Need:
    """Something that a framework requires in the environment of its jobs, besides Python.

    :param name: a Python package or a program: ``distributed``, ``mpirun``.
    :param requirements: names in requirements.txt that bring it, extras included: ``dask[complete]``.
    :param advice: what to add to requirements.txt or job.ini.
    :param only_multi: True if a run on one VM does without it.
    """

    name: str
    requirements: tuple[str, ...]
    advice: str
    only_multi: bool = False


@dataclass(frozen=True)
class Framework:
    """A framework that runs one command on one host or on many.

    :param name: value of ``framework`` in ``job.ini``.
    :param multi: returns tasks and files of a run on all hosts.
    :param single: the same for a run on the first host alone.
    :param scripts: files of ``orchestrator/remote`` that its tasks call, besides those of every run.
    :param fewest_hosts: hosts that a run on all of them needs at least.
    :param needs_multi: True if ``job.ini`` must name ``multi``: the framework is for several VMs.
    :param is_elastic: True if hosts may leave and join during a run, as ``min_hosts`` allows.
    :param has_dashboard: True if a run on all hosts serves a dashboard on the port after its own.
    :param needs: what the environment of a job must have.
    """

    name: str
    multi: PlanTasks = command_on_each_host
    single: PlanTasks = command_on_each_host
    scripts: tuple[str, ...] = ()
    fewest_hosts: int = 1
    needs_multi: bool = False
    is_elastic: bool = False
    has_dashboard: bool = False
    needs: tuple[Need, ...] = ()

    def plan_tasks(self, layout: JobLayout, *, multi: bool) -> TaskPlan:
        """Return the tasks of a run, and the files that each of its hosts gets."""
        tasks, files = (self.multi if multi else self.single)(layout)
        return tasks, files | layout.hostfile

    def dashboard_port(self, layout: JobLayout, *, multi: bool) -> int:
        """Return the port of the dashboard on the first host's private address; 0 without one."""
        return layout.port + 1 if multi and self.has_dashboard else 0

    @property
    def run_scripts(self) -> Files:
        """Remote scripts of a run, as files of it."""
        return remote_scripts.scripts((*remote_scripts.RUN_SCRIPTS, *self.scripts), folder="bin/")


@cache
def frameworks() -> dict[str, Framework]:
    """Return all frameworks by name; a caller may add one."""
    # By name: importing them as modules would be a circle, since each imports its Framework from here.
    package = importlib.import_module(__package__)
    modules = (
        importlib.import_module(f"{__package__}.{module.name}") for module in pkgutil.iter_modules(package.__path__)
    )
    # Modules without a record are shared by several frameworks.
    records: list[Framework] = [module.FRAMEWORK for module in modules if hasattr(module, "FRAMEWORK")]
    return {record.name: record for record in records}


def find(name: str) -> Framework:
    """Return a framework by its name.

    :raises UsageError: this version does not have it; the run was started by another one.
    """
    # Names come from manifests on hosts, too, which another version may have written.
    try:
        return frameworks()[name]
    except KeyError:
        raise UsageError(f"no framework {name!r} in this version", fix=f"known: {', '.join(frameworks())}") from None


# SageMaker's own libraries and launchers, which current images do not have: https://github.com/aws/sagemaker-python-sdk
_DATA_PARALLEL = "torchrun, with PyTorch's DistributedDataParallel"
_REPLACED = {
    "smdistributed": _DATA_PARALLEL,
    "smdistributed.dataparallel": _DATA_PARALLEL,
    "smddp": _DATA_PARALLEL,
    "smdistributed.modelparallel": "torchrun, with PyTorch's FullyShardedDataParallel",
    "parameter_server": "mxnet for MXNet's, and torchrun otherwise",
}


def living(name: str) -> str:
    """Return the name of a framework.

    :raises ValueError: it is one of SageMaker's that has been replaced.
    """
    if name in _REPLACED:
        raise ValueError(f"has been replaced by {_REPLACED[name]}")
    return name


def names_with(has_feature: Callable[[Framework], bool]) -> str:
    """Return the names of the frameworks with a feature, for a message: ``horovod or mpi``."""
    return " or ".join(record.name for record in frameworks().values() if has_feature(record))
