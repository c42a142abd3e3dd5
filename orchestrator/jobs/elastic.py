"""Hosts that come up while an elastic run goes on take part in it: what the run is, they get from its first host."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.errors import HostError, UsageError
from orchestrator.core.host import Host
from orchestrator.core.next_step import NextStep
from orchestrator.hosts import parallel
from orchestrator.jobs import runner, runs
from orchestrator.jobs.spec import JobSpec

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient

TIMEOUT_S = 60.0


@dataclass(frozen=True)
class JoinReport:
    """Which hosts take part in a run from now on.

    :param failed: host -> why it does not.
    """

    run_id: str
    joined: tuple[str, ...]
    failed: Mapping[str, Exception]


def check_job(spec: JobSpec, run: runs.Run) -> JobSpec:
    """Return the job, when it is the run's.

    :raises UsageError: it is another one.
    """
    if spec.name != run.job:
        raise UsageError(
            f"{run.run_id} is of the job {run.job}, and the config names {spec.name}", fix="[job] run = ..."
        )
    return spec


def joinable_hosts(run: runs.Run, hosts: Sequence[Host]) -> list[Host]:
    """Return the hosts that could join: those up on which there is nothing of the run.

    :raises UsageError: the run takes no more hosts.
    """
    if not run.min_hosts:
        what = f"{run.run_id} takes no more hosts: only elastic runs do"
        raise UsageError(what, fix="job.ini: framework = horovod, and [resources] min_hosts = 1 or more")
    if run.state != "running":
        raise UsageError(f"{run.run_id} is over ({run.state})", fix=NextStep("RunMultiVMComputing"))
    if run.hosts[0] not in {host.name for host in hosts}:
        raise UsageError(f"{run.hosts[0]}, which leads {run.run_id}, is not up", fix=NextStep("Status") + " shows it")
    taking_part = {task.host for task in run.tasks}
    found = [host for host in hosts if host.name not in taking_part]
    if not found:
        raise UsageError(
            f"every host that is up takes part in {run.run_id}",
            fix=NextStep("LaunchInstances", 1) + ", then " + NextStep("InstallDeps"),
        )
    return found


def add_hosts(ssh: SshClient, hosts: Sequence[Host], run: runs.Run, prepare: Callable[[Host], object]) -> JoinReport:
    """Let the newcomers among these hosts take part in a run; they have to be installed.

    :param prepare: brings the job's code to a host.
    """
    new = joinable_hosts(run, hosts)
    (head,) = [host for host in hosts if host.name == run.hosts[0]]
    files = _shared_files(ssh, head, run.run_id)

    def lay_out(host: Host) -> None:
        prepare(host)
        runner.stage_run(ssh, host, run.run_id, run.start_args, _host_files(files, host))

    laid_out = parallel.for_each(new, lay_out, clock=ssh.clock)
    there = [outcome.host for outcome in laid_out.values() if outcome.ok]
    summary = _manifest_with(files["job.json"], there)
    told = [host for host in hosts if host.name in {task.host for task in run.tasks}] + there
    # The first host is told who they are, and all what the run is now: any shell may ask any of them.
    members = [f"{host.name} {host.private_address}" for host in there]
    words = (run.run_id, summary)
    outcomes = parallel.for_each(
        told, lambda host: _admit(ssh, host, *words, *(members if host is head else ())), clock=ssh.clock
    )
    failed = laid_out.errors | {name: error for name, error in outcomes.errors.items() if name == head.name}
    return JoinReport(run.run_id, tuple(host.name for host in there), failed)


def _shared_files(ssh: SshClient, head: Host, run_id: str) -> dict[str, bytes]:
    """Return the files of the run that every host has."""
    reply = ssh.run(head, remote_scripts.inline_command("give.sh", run_id), timeout_s=TIMEOUT_S)
    files = {}
    for line in reply.stdout.splitlines():
        if line.startswith("@@file "):
            _, name, content = line.split(" ")
            files[name] = base64.b64decode(content)
    if not reply.ok or "mesh/key.pem" not in files:
        raise HostError(f"gives nothing of {run_id}: {reply.stderr.strip() or 'it is over'}", where=head.name)
    return files


def _host_files(files: Mapping[str, bytes], host: Host) -> dict[str, bytes]:
    """Return a run's files as they are on one host."""
    own = {"STRATUS_HOST": host.name, "STRATUS_ADDRESS": host.private_address}
    lines = [
        line for line in files["task/mesh.env"].decode().splitlines(keepends=True) if line.partition("=")[0] not in own
    ]
    lines += [f"{name}={shlex.quote(value)}\n" for name, value in own.items()]
    tools = remote_scripts.scripts(remote_scripts.RUN_SCRIPTS, folder="bin/")
    return {**tools, **files, "task/mesh.env": "".join(lines).encode()}


def _manifest_with(text: bytes, joined: Sequence[Host]) -> str:
    facts = json.loads(text)
    facts["roles"] = {**facts["roles"], **{host.name: ["mesh"] for host in joined}}
    return json.dumps(facts, sort_keys=True)


def _admit(ssh: SshClient, host: Host, *args: str) -> None:
    ssh.run(host, remote_scripts.inline_command("admit.sh", *args), timeout_s=TIMEOUT_S).raise_if_failed(
        "could not be told"
    )
