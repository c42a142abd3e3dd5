"""Horovod and MPI: a mesh between the hosts through which the first one starts processes on all others.

Every host has an agent (``remote/mesh.py``) that answers whoever shows the run's own certificate, and nobody else.
The job's main task waits for them all, tries whether each reaches each, and runs the launcher with a program ``ssh``
first on its PATH that goes through the agents. They end, with all that they started, when that main task ends.
"""

from __future__ import annotations

from orchestrator.crypto.tls import generate_cluster_tls
from orchestrator.jobs.tasks import Files, JobLayout, Task

AGENT = 'sh "$STRATUS_FOLDER/bin/mesh_host.sh" "$STRATUS_FOLDER"'
LEAD = 'sh "$STRATUS_FOLDER/bin/mesh_main.sh" "$STRATUS_FOLDER" '
GUARD = 'sh "$STRATUS_FOLDER/bin/mesh_guard.sh" "$STRATUS_FOLDER"'


def horovod_alone(given: JobLayout) -> tuple[list[Task], Files]:
    """``horovodrun`` over the slots of the first host."""
    wrapped = 'sh "$STRATUS_FOLDER/bin/horovod.sh" "$STRATUS_FOLDER"'
    return [given.task(given.head, "main", wrapped)], given.command_file


def horovod(given: JobLayout) -> tuple[list[Task], Files]:
    """``horovodrun`` over all hosts, through the mesh; elastic when the job names ``min_hosts``."""
    return _meshed(given, "horovod.sh")


def mpi(given: JobLayout) -> tuple[list[Task], Files]:
    """The command on the first host, where ``mpirun`` reaches the others through the mesh."""
    return _meshed(given, "mpi.sh")


def guarded(given: JobLayout, tasks: list[Task], files: Files) -> tuple[list[Task], Files]:
    """Add what ends all main tasks when one of them fails, or its host is lost, to a job that has one on every host."""
    if len(given.hosts) == 1:
        return tasks, files
    shared = {"STRATUS_WAIT": f"{given.spec.resources.wait:g}", "STRATUS_GUARD": "yes"}
    more = [given.task(host, "mesh", AGENT, shared) for host in given.hosts]
    more.append(given.task(given.head, "guard", GUARD, shared))
    for task in more:
        # On the host itself, not in the job's container: from inside, the main task's processes cannot be seen.
        task.env.pop("STRATUS_IMAGE", None)
    return [*tasks, *more], files | _keys(given)


def _keys(given: JobLayout) -> Files:
    tls = generate_cluster_tls([host.private_address for host in given.hosts], given.now)
    members = "".join(f"{host.name} {host.private_address}\n" for host in given.hosts)
    return {
        "mesh/ca.pem": tls.ca.encode(),
        "mesh/cert.pem": tls.cert.encode(),
        "mesh/key.pem": tls.key.encode(),
        "mesh/port": b"%d\n" % (given.port + 1),
        "mesh/members": members.encode(),
    }


def _meshed(given: JobLayout, launcher: str) -> tuple[list[Task], Files]:
    resources = given.spec.resources
    shared = {"STRATUS_WAIT": f"{resources.wait:g}"}
    if resources.min_hosts:
        shared["STRATUS_MIN_HOSTS"] = str(resources.min_hosts)
    tasks = [given.task(host, "mesh", AGENT, shared) for host in given.hosts]
    return [*tasks, given.task(given.head, "main", LEAD + launcher, shared)], _keys(given) | given.command_file
