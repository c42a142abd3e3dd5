"""Query hosts for their runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.errors import StratusError
from orchestrator.core.host import Host
from orchestrator.hosts import parallel
from orchestrator.jobs import host_output
from orchestrator.jobs.host_output import RunList
from orchestrator.jobs.runs import LocatedRun, select_run

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient


def list_runs(ssh: SshClient, hosts: Sequence[Host], run_id: str = "") -> RunList:
    """Return the runs on these hosts, oldest first, and a line on each that did not answer; one round trip to each.

    :param run_id: only this one (the full id).
    :raises HostsFailed: no host answered.
    """
    command = remote_scripts.inline_command("runs.sh", *([run_id] if run_id else []))
    results = parallel.for_each(hosts, lambda host: ssh.run(host, command), clock=ssh.clock)
    # One host that does not answer must not hide the runs on all others.
    if not results.succeeded:
        results.raise_if_failed("runs could not be listed")
    listed = host_output.parse_runs({name: result.unwrap().stdout for name, result in results.succeeded.items()})
    silent = [f"{name}: its runs are unknown: {_reason(error)}" for name, error in results.errors.items()]
    return RunList(listed.runs, (*silent, *listed.problems))


def _reason(error: Exception) -> str:
    return error.message if isinstance(error, StratusError) else str(error)


def locate(
    ssh: SshClient, hosts: Sequence[Host], id_suffix: str, *, on_problem: Callable[[str], None] = lambda line: None
) -> LocatedRun:
    """Return a run by its id or the id's end, the newest when empty, with the hosts that are up.

    :param hosts: all hosts that are up.
    :param on_problem: called with a line on each run, or part of one, that is damaged.
    :raises UsageError: there is none, or several match.
    """
    listed = list_runs(ssh, hosts)
    # Before the run is chosen: the one that was asked for may be the damaged one.
    for problem in listed.problems:
        on_problem(problem)
    return LocatedRun(select_run(listed.runs, id_suffix), tuple(hosts))


def refresh(ssh: SshClient, located: LocatedRun) -> LocatedRun:
    """Return a located run as its hosts report it now; one round trip to each of them."""
    # Only members: other hosts have nothing of this run.
    run_id = located.run.run_id
    return LocatedRun(select_run(list_runs(ssh, located.members, run_id).runs, run_id), located.hosts)
