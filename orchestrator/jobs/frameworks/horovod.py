"""Horovod: ``horovodrun`` on the first host, which starts processes on all others through the mesh."""

from __future__ import annotations

from orchestrator.jobs.frameworks import mesh
from orchestrator.jobs.frameworks.registry import Framework, Need, TaskPlan
from orchestrator.jobs.tasks import JobLayout

ALONE = 'sh "$STRATUS_FOLDER/bin/horovod.sh" "$STRATUS_FOLDER"'


def plan_one_host(layout: JobLayout) -> TaskPlan:
    """Return ``horovodrun`` over the slots of the first host."""
    return [layout.task(layout.head, "main", ALONE)], layout.command_file


def plan_all_hosts(layout: JobLayout) -> TaskPlan:
    """Return ``horovodrun`` over all hosts; elastic when the job sets ``min_hosts``."""
    return mesh.plan_launcher(layout, "horovod.sh")


FRAMEWORK = Framework(
    "horovod",
    multi=plan_all_hosts,
    single=plan_one_host,
    scripts=(*mesh.LAUNCHER_SCRIPTS, "horovod.sh"),
    needs_multi=True,
    is_elastic=True,
    needs=(Need("horovod", ("horovod",), "add a line  horovod  to requirements.txt, or use a container with it"),),
)
