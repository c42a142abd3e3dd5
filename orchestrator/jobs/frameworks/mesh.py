"""Mesh between hosts, through which the first one starts processes on all others or watches them.

Every host has an agent (``remote/mesh.py``) that accepts only clients with the run's own certificate. A main task that
leads the mesh waits for all agents, checks that each reaches each, and runs the launcher with a program ``ssh``
first on its PATH that goes through the agents. They end, with all that they started, when that main task ends.
"""

from __future__ import annotations

from orchestrator.crypto.tls import generate_cluster_tls
from orchestrator.jobs.frameworks.registry import TaskPlan
from orchestrator.jobs.tasks import Files, JobLayout, Task

AGENT = 'sh "$STRATUS_FOLDER/bin/mesh_host.sh" "$STRATUS_FOLDER"'
LEAD = 'sh "$STRATUS_FOLDER/bin/mesh_main.sh" "$STRATUS_FOLDER" '
GUARD = 'sh "$STRATUS_FOLDER/bin/mesh_guard.sh" "$STRATUS_FOLDER"'

AGENT_SCRIPTS = ("mesh.py", "interface.py", "mesh_lead.py", "mesh_env.sh", "mesh_ssh.sh", "mesh_host.sh", "end_main.sh")
LAUNCHER_SCRIPTS = (*AGENT_SCRIPTS, "mesh_main.sh", "rank.sh", "alive.sh")
GUARD_SCRIPTS = (*AGENT_SCRIPTS, "mesh_up.sh", "mesh_guard.sh", "mesh_guard.py")


def plan_launcher(layout: JobLayout, script: str) -> TaskPlan:
    """Return an agent on every host, and a main task on the first that runs a launcher script over the mesh."""
    env = {"STRATUS_WAIT": layout.wait_s}
    if layout.resources.min_hosts:
        env["STRATUS_MIN_HOSTS"] = str(layout.resources.min_hosts)
    tasks = [layout.task(host, "mesh", AGENT, env) for host in layout.hosts]
    tasks.append(layout.task(layout.head, "main", LEAD + script, env))
    return tasks, _mesh_files(layout) | layout.command_file


def add_guard(layout: JobLayout, tasks: list[Task], files: Files) -> TaskPlan:
    """Add tasks that stop all main tasks when one of them fails, or its host is lost.

    For frameworks with a main task on every host, whose libraries wait for a lost peer for minutes or forever.
    """
    if len(layout.hosts) == 1:
        return tasks, files
    env = {"STRATUS_WAIT": layout.wait_s, "STRATUS_GUARD": "yes"}
    helpers = [layout.task(host, "mesh", AGENT, env) for host in layout.hosts]
    helpers.append(layout.task(layout.head, "guard", GUARD, env))
    for task in helpers:
        # On the host itself, not in the job's container: from inside, the main task's processes cannot be seen.
        task.env.pop("STRATUS_IMAGE", None)
    return [*tasks, *helpers], files | _mesh_files(layout)


def _mesh_files(layout: JobLayout) -> Files:
    tls = generate_cluster_tls([host.private_address for host in layout.hosts], layout.now)
    members = "".join(f"{host.name} {host.private_address}\n" for host in layout.hosts)
    return {
        "mesh/ca.pem": tls.ca.encode(),
        "mesh/cert.pem": tls.cert.encode(),
        "mesh/key.pem": tls.key.encode(),
        # The run's even port is the framework's own (MASTER_PORT, DMLC_PS_ROOT_PORT).
        "mesh/port": b"%d\n" % (layout.port + 1),
        "mesh/members": members.encode(),
    }
