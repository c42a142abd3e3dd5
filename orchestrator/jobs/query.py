"""Query hosts for their runs, and combine what they list: a job may rewrite every record of its run on its hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.errors import StratusError, UsageError
from orchestrator.core.host import Host
from orchestrator.core.next_step import NextStep
from orchestrator.hosts import parallel
from orchestrator.jobs import host_output, record
from orchestrator.jobs.host_output import MAX_OUTPUTS
from orchestrator.jobs.record import RecordedRun
from orchestrator.jobs.runs import Listing, LocatedRun, Run, select_run

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient

CLOCK_SLACK = timedelta(days=1)
"""Difference between the clocks of a host and of this computer; later times are damaged."""

HOSTS_SHOWN = 6


@dataclass(frozen=True)
class RunList:
    """Runs that hosts list.

    :param problems: one line for each part of their output that was left out, or that differs between hosts.
    :param refused: id of a run -> hosts whose list of it was left out, as it ran on other instances.
    """

    runs: tuple[Run, ...]
    problems: tuple[str, ...]
    refused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def _not_recorded(_run_id: str) -> RecordedRun:
    return RecordedRun()


@dataclass(frozen=True)
class LocalFacts:
    """Facts of this computer that the lists of hosts are compared with.

    :param record_of: returns the record of a run, by its id.
    :param instances: host -> id of its instance; its name if it has none.
    :param latest: latest time that a host may state.
    """

    record_of: Callable[[str], RecordedRun] = _not_recorded
    instances: Mapping[str, str] = field(default_factory=dict)
    latest: datetime = datetime(2200, 1, 1, tzinfo=UTC)


NO_FACTS = LocalFacts()


def list_runs(ssh: SshClient, hosts: Sequence[Host], runs_folder: Path, run_id: str = "") -> RunList:
    """Return the runs on these hosts, oldest first, and a line on each that did not answer; one round trip to each.

    :param runs_folder: with the records of this computer.
    :param run_id: only this one (the full id).
    :raises HostsFailed: no host answered.
    """
    command = remote_scripts.inline_command("runs.sh", *([run_id] if run_id else []))
    results = parallel.for_each(hosts, lambda host: ssh.run(host, command), clock=ssh.clock)
    # One host that does not answer must not hide the runs on all others.
    if not results.succeeded:
        results.raise_if_failed("runs could not be listed")
    local = LocalFacts(
        partial(record.recorded_run, runs_folder),
        {host.name: host.identity or host.name for host in hosts},
        ssh.clock.now() + CLOCK_SLACK,
    )
    listed = combine({name: result.unwrap().stdout for name, result in results.succeeded.items()}, local)
    silent = [f"{name}: its runs are unknown: {_reason(error)}" for name, error in results.errors.items()]
    return replace(listed, problems=(*silent, *listed.problems))


def _reason(error: Exception) -> str:
    return error.message if isinstance(error, StratusError) else str(error)


def locate(
    ssh: SshClient,
    hosts: Sequence[Host],
    id_suffix: str,
    runs_folder: Path,
    *,
    on_problem: Callable[[str], None] = lambda line: None,
) -> LocatedRun:
    """Return a run by its id or the id's end, the newest when empty, with the hosts that are up.

    :param hosts: all hosts that are up.
    :param runs_folder: with the records of this computer.
    :param on_problem: called with a line on each run, or part of one, that is damaged.
    :raises UsageError: there is none, or several match, or it is listed by other instances than it ran on only.
    """
    listed = list_runs(ssh, hosts, runs_folder)
    # Before the run is chosen: the one that was asked for may be the damaged one.
    for problem in listed.problems:
        on_problem(problem)
    _check_refused(listed, id_suffix)
    return LocatedRun(select_run(listed.runs, id_suffix), tuple(hosts))


def _check_refused(listed: RunList, id_suffix: str) -> None:
    refused = [run_id for run_id in listed.refused if run_id.endswith(id_suffix)] if id_suffix else []
    if refused and not any(run.run_id.endswith(id_suffix) for run in listed.runs):
        hosts = ", ".join(listed.refused[refused[0]])
        raise UsageError(_refusal(refused[0]), where=hosts, fix=NextStep("Status") + " shows the VMs")


def refresh(ssh: SshClient, located: LocatedRun, runs_folder: Path) -> LocatedRun:
    """Return a located run as its hosts report it now; one round trip to each of them."""
    # Only members: other hosts have nothing of this run.
    run_id = located.run.run_id
    return LocatedRun(select_run(list_runs(ssh, located.members, runs_folder, run_id).runs, run_id), located.hosts)


# -- lists of several hosts


def combine(outputs: Mapping[str, str], local: LocalFacts = NO_FACTS) -> RunList:
    """Return the runs that hosts list, oldest first.

    :param outputs: name of a host -> output of ``runs.sh`` there.
    :param local: facts of this computer that they are compared with.
    """
    listings, damaged = host_output.parse_listings(outputs, local.latest)
    records = {run_id: local.record_of(run_id) for run_id in listings}
    refused = {run_id: _foreign_hosts(group, records[run_id], local.instances) for run_id, group in listings.items()}
    problems = [f"{host}: {_refusal(run_id)}" for run_id, hosts in refused.items() for host in hosts]
    runs = []
    for run_id, group in listings.items():
        own = [listing for listing in group if listing.host not in refused[run_id]]
        if run := _merge(own, records[run_id]):
            runs.append(run)
            problems += _differences(own, run)
    runs.sort(key=lambda run: _order(run, local.latest))
    refused = {run_id: hosts for run_id, hosts in refused.items() if hosts}
    return RunList(tuple(runs), (*damaged, *problems), refused)


def _refusal(run_id: str) -> str:
    return f"run {run_id} is left out: by the record of this computer it ran on other VMs"


def _differences(listings: Sequence[Listing], run: Run) -> list[str]:
    """Return one line if the hosts' records of a run are not the same."""
    differing = _differing_hosts(listings, run)
    if not differing:
        return []
    line = f"job.json on {_shown(differing)} does not match the tasks there, another VM, or the record of this computer"
    return [f"run {run.run_id}: {line}; its VMs are {_shown(run.hosts)}"]


def _shown(hosts: Sequence[str]) -> str:
    return ", ".join(hosts) if len(hosts) <= HOSTS_SHOWN else f"{len(hosts)} VMs"


def _foreign_hosts(listings: Sequence[Listing], recorded: RecordedRun, instances: Mapping[str, str]) -> tuple[str, ...]:
    """Return the hosts that list a run which, by the record of this computer, ran on other instances.

    :param instances: host -> id of its instance; its name if it has none.
    """
    if not recorded.instances:
        return ()
    hosts = [listing.host for listing in listings]
    known = {host for host in hosts if instances.get(host, host) in recorded.instances}
    manifests = [listing.manifest for listing in listings if listing.host in known and listing.manifest]
    # Another computer may have added hosts to an elastic run; those of the record name them then.
    added = {host for manifest in manifests if manifest.min_hosts for host in manifest.roles}
    return tuple(host for host in hosts if host not in known | added)


def _merge(listings: Sequence[Listing], recorded: RecordedRun) -> Run | None:
    """Return a run as its hosts list it together; None if every ``job.json`` is damaged.

    A job may rewrite each of them. A host that lists the run is a member of it, whatever the others list; its roles
    are those that it lists itself. All other facts are those that most hosts list.
    """
    manifests = _by_frequency(listing.manifest for listing in listings if listing.manifest)
    if not manifests:
        return None
    roles = _merged_roles(manifests, listings, recorded)
    outputs = _union(*(manifest.outputs for manifest in manifests))[:MAX_OUTPUTS]
    tasks = tuple(task for listing in listings for task in listing.tasks)
    multi = manifests[0].multi or len(roles) > 1
    return replace(manifests[0], roles=roles, outputs=outputs, tasks=tasks, multi=multi)


def _differing_hosts(listings: Sequence[Listing], run: Run) -> list[str]:
    """Return the hosts whose ``job.json`` is not what the run is by :func:`_merge`."""
    # Once per text: all hosts of a large run usually have the same.
    is_same = {id(listing.manifest): _is_same(listing.manifest, run) for listing in listings if listing.manifest}
    return [listing.host for listing in listings if listing.manifest and not is_same[id(listing.manifest)]]


def _is_same(manifest: Run, run: Run) -> bool:
    roles = {host: set(names) for host, names in manifest.roles.items()}
    is_same_rest = replace(manifest, roles=run.roles, tasks=run.tasks) == run
    return is_same_rest and roles == {host: set(names) for host, names in run.roles.items()}


def _by_frequency(manifests: Iterable[Run]) -> list[Run]:
    """Return manifests, each object once, the most frequent first."""
    by_id: dict[int, list[Run]] = {}
    for manifest in manifests:
        by_id.setdefault(id(manifest), []).append(manifest)
    return [same[0] for same in sorted(by_id.values(), key=len, reverse=True)]


def _merged_roles(
    manifests: Sequence[Run], listings: Sequence[Listing], recorded: RecordedRun
) -> dict[str, tuple[str, ...]]:
    roles: dict[str, tuple[str, ...]] = {}
    for listed in (*(manifest.roles for manifest in manifests), recorded.roles):
        for host, names in listed.items():
            roles[host] = _union(roles.get(host, ()), names)
    for listing in listings:
        host, manifest = listing.host, listing.manifest
        own = manifest.roles.get(host, ()) if manifest else ()
        own = _union(own, (task.role for task in listing.tasks), recorded.roles.get(host, ()))
        if own or host not in roles:
            roles[host] = own
    return roles


def _union(*texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for group in texts for text in group))


def _order(run: Run, latest: datetime) -> tuple[datetime, str]:
    """Return the key that sorts runs, oldest first.

    :param latest: latest time that a run's id may state.
    """
    # A run whose first task has not written its start yet is the newest.
    moment = datetime.max.replace(tzinfo=UTC)
    if any(task.is_undated for task in run.tasks):
        # Otherwise a job could make its run the newest by damaging that file.
        moment = _id_time(run.run_id, latest)
    return (run.started_at or moment, run.run_id)


def _id_time(run_id: str, latest: datetime) -> datetime:
    oldest = datetime.min.replace(tzinfo=UTC)
    try:
        moment = datetime.strptime(run_id.rpartition("-")[0], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return oldest
    return moment if moment <= latest else oldest
