"""MXNet's parameter server: a scheduler on the first host, a server and a worker on every one.

The variables are ps-lite's: https://mxnet.apache.org/versions/1.9.1/api/faq/distributed_training
"""

from __future__ import annotations

from orchestrator.jobs.frameworks import mesh
from orchestrator.jobs.frameworks.registry import Framework, Need, TaskPlan
from orchestrator.jobs.tasks import JobLayout, Task

# `import mxnet` itself runs the role that DMLC_ROLE names, and ends the process when the job is over.
HELPER = "exec python -c 'import mxnet'"
WORKER = 'sh "$STRATUS_FOLDER/bin/mxnet_main.sh" "$STRATUS_FOLDER"'


def plan_parameter_server(layout: JobLayout) -> TaskPlan:
    """Return scheduler, servers and workers; the workers are the main tasks."""
    count = str(len(layout.hosts))
    env = {
        "DMLC_PS_ROOT_URI": layout.head.private_address,
        "DMLC_PS_ROOT_PORT": str(layout.port),
        "DMLC_NUM_SERVER": count,
        "DMLC_NUM_WORKER": count,
        "STRATUS_WAIT": layout.wait_s,
    }

    def task(number: int, role: str, dmlc_role: str, command: str) -> Task:
        host = layout.hosts[number]
        # Without DMLC_NODE_HOST ps-lite binds the first network interface that it finds.
        return layout.task(host, role, command, env | {"DMLC_ROLE": dmlc_role, "DMLC_NODE_HOST": host.private_address})

    tasks = [task(0, "scheduler", "scheduler", HELPER)]
    for number in range(len(layout.hosts)):
        tasks += [task(number, "server", "server", HELPER), task(number, "main", "worker", WORKER)]
    return mesh.add_guard(layout, tasks, layout.command_file)


FRAMEWORK = Framework(
    "mxnet",
    multi=plan_parameter_server,
    single=plan_parameter_server,
    scripts=(*mesh.GUARD_SCRIPTS, "mxnet_main.sh"),
    needs_multi=True,
    needs=(Need("mxnet", ("mxnet", "mxnet-cu112"), "add a line  mxnet  to requirements.txt"),),
)
