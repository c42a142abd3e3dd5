"""Add hosts to an elastic run; its first host hands them the run's files."""

from __future__ import annotations

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
from orchestrator.jobs import host_output, runner
from orchestrator.jobs.frameworks import registry
from orchestrator.jobs.runs import LocatedRun, Run
from orchestrator.jobs.spec import JobSpec

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient

TIMEOUT_S = 60.0


@dataclass(frozen=True)
class JoinReport:
    """Hosts that were added to a run.

    :param failed: host -> why it was not added.
    """

    run_id: str
    joined: tuple[str, ...]
    failed: Mapping[str, Exception]


def check_job(spec: JobSpec, run: Run) -> JobSpec:
    """Return the job if it is the run's.

    :raises UsageError: it is another one.
    """
    if spec.name != run.job:
        raise UsageError(f"{run.run_id} is a run of {run.job}, but the config has {spec.name}", fix="[job] run = ...")
    return spec


def joinable_hosts(located: LocatedRun) -> list[Host]:
    """Return the hosts that could be added: those that are up and have nothing of the run.

    :raises UsageError: no host can be added to the run.
    """
    run = located.run
    if not run.min_hosts:
        elastic = registry.names_with(lambda framework: framework.is_elastic)
        raise UsageError(
            f"cannot add VMs to {run.run_id}: not an elastic run",
            fix=f"job.ini: framework = {elastic}, and [resources] min_hosts = 1 or more",
        )
    if run.state != "running":
        raise UsageError(f"{run.run_id} has ended ({run.state})", fix=NextStep("RunMultiVMComputing"))
    if located.missing_names(run.hosts[:1]):
        raise UsageError(
            f"{run.hosts[0]}, the first VM of {run.run_id}, is not up", fix=NextStep("Status") + " shows it"
        )
    # By tasks, not roles: a VM that replaces a lost one has its name, and so its role, but no task.
    occupied = {task.host for task in run.tasks}
    free = [host for host in located.hosts if host.name not in occupied]
    if not free:
        raise UsageError(
            f"every VM that is up already takes part in {run.run_id}",
            fix=NextStep("LaunchInstances", 1) + ", then " + NextStep("JoinJob"),
        )
    return free


def add_hosts(
    ssh: SshClient, located: LocatedRun, data_links: Sequence[str], prepare: Callable[[Host], object]
) -> JoinReport:
    """Add all hosts that are up to a run.

    :param data_links: of the job as it is installed from this computer; the run may have been started from another.
    :param prepare: brings the job's code to a host, and installs what it lacks.
    """
    run = located.run
    candidates = joinable_hosts(located)
    (head,) = located.hosts_named(run.hosts[:1])
    files = _shared_files(ssh, head, run.run_id)

    def stage(host: Host) -> None:
        prepare(host)
        runner.stage_run(ssh, host, run.run_id, (*run.start_args[:3], *data_links), _host_files(run, files, host))

    staged = parallel.for_each(candidates, stage, clock=ssh.clock)
    joined = [outcome.host for outcome in staged.values() if outcome.ok]
    manifest = _manifest_with(files["job.json"], joined)
    # Every host gets the new manifest, as any of them may be queried; the mesh's members are kept by the first alone.
    members = [f"{host.name} {host.private_address}" for host in joined]
    known = [host for host in located.hosts if host.name in {task.host for task in run.tasks}]
    admitted = parallel.for_each(
        [*known, *joined],
        lambda host: _admit(ssh, host, run.run_id, manifest, *(members if host is head else ())),
        clock=ssh.clock,
    )
    failed = staged.errors | {name: error for name, error in admitted.errors.items() if name == head.name}
    return JoinReport(run.run_id, tuple(host.name for host in joined), failed)


def _shared_files(ssh: SshClient, head: Host, run_id: str) -> dict[str, bytes]:
    """Return the files of the run that every host has."""
    result = ssh.run(head, remote_scripts.inline_command("give.sh", run_id), timeout_s=TIMEOUT_S)
    files = host_output.parse_files(result.stdout)
    # cancel.sh and the end of the main task remove the keys.
    if not result.ok or not {"job.json", "task/mesh.env", "mesh/key.pem"} <= files.keys():
        reason = result.stderr.strip() or "it has ended"
        raise HostError(f"the files of {run_id} could not be read: {reason}", where=head.name)
    return files


def _host_files(run: Run, files: Mapping[str, bytes], host: Host) -> dict[str, bytes]:
    """Return a run's files for one host."""
    # The file is the first host's; of its variables only these two differ between hosts.
    variables = {"STRATUS_HOST": host.name, "STRATUS_ADDRESS": host.private_address}
    lines = files["task/mesh.env"].decode(errors="replace").splitlines(keepends=True)
    lines = [line for line in lines if line.partition("=")[0] not in variables]
    lines += [f"{name}={shlex.quote(value)}\n" for name, value in variables.items()]
    scripts = registry.find(run.framework).run_scripts
    return {**scripts, **files, "task/mesh.env": "".join(lines).encode()}


def _manifest_with(manifest: bytes, joined: Sequence[Host]) -> str:
    facts = host_output.manifest_facts(manifest)
    facts["roles"] = {**dict(facts.get("roles", {})), **{host.name: ["mesh"] for host in joined}}
    return json.dumps(facts, sort_keys=True)


def _admit(ssh: SshClient, host: Host, *args: str) -> None:
    result = ssh.run(host, remote_scripts.inline_command("admit.sh", *args), timeout_s=TIMEOUT_S)
    result.raise_if_failed("the new VMs could not be added")
