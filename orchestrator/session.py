"""The Python API, and all that shell and command line are made of: a cluster, and the jobs that run on it.

with Session(settings, home=default_home(), runs=Path("runs")) as session:
    session.launch(session.plan(2))
    session.install()
    handle = session.start_run(multi=True)
    session.follow(handle.run, on_line=lambda host, line: print(line))
    record = session.fetch(handle.run)
    report = session.terminate()
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from orchestrator.aws import ecr
from orchestrator.aws.ec2.state_changes import InstanceResult
from orchestrator.aws.launch.plan import LaunchPlan
from orchestrator.aws.storage import s3
from orchestrator.cluster.launcher import LaunchReport
from orchestrator.cluster.recovery import InterruptedLaunch, RecoverReport
from orchestrator.cluster.status import ClusterStatus
from orchestrator.cluster.terminate import TerminateReport
from orchestrator.core import cost, json_file
from orchestrator.core.errors import CloudRefused, HostError, HostsFailed, JobFailed, StratusError, UsageError
from orchestrator.core.events import Event, EventHandler, ignore_event
from orchestrator.core.next_step import NextStep, add_advice, join
from orchestrator.hosts import parallel
from orchestrator.hosts.tunnels import Dashboard
from orchestrator.install import registry_login, steps
from orchestrator.install.installer import HostInstall, Installer, InstallReport, image_mismatch
from orchestrator.jobs import build, elastic, inputs, results, runner
from orchestrator.jobs import follow as jobs_follow
from orchestrator.jobs import runs as jobs_runs
from orchestrator.jobs import spec as jobs_spec
from orchestrator.jobs.record import Notes, RunRecord, complete_record
from orchestrator.jobs.runner import CancelReport
from orchestrator.jobs.runs import RunHandle, RunResult, RunSummary
from orchestrator.services.account import Account
from orchestrator.services.cluster import Cluster
from orchestrator.services.hosts import Everywhere

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients
    from orchestrator.config.settings import Settings
    from orchestrator.core.host import Host
    from orchestrator.means import Runtime

NAMES_LIVE_S = 30.0


def default_home() -> Path:
    """Return the folder of everything that is kept on this computer: ``STRATUS_HOME``, or the platform's own place."""
    named = os.environ.get("STRATUS_HOME")
    if named:
        return Path(named).expanduser()
    from platformdirs import user_data_path

    return user_data_path("stratus", appauthor=False)


class Session(Account, Everywhere):
    """One user, one cluster, and the jobs on it.

    :param settings: what the config file says.
    :param home: folder of everything that is kept on this computer.
    :param runs: folder that results are fetched into.
    :param tell: hears of every change of state; called from several threads.
    :param clients: AWS clients; made from the settings when not given.
    :param means: time, SSH and threads; the real ones when not given.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        home: Path,
        runs: Path,
        tell: EventHandler = ignore_event,
        clients: Clients | None = None,
        means: Runtime | None = None,
    ) -> None:
        self.settings = settings
        self.cluster = Cluster(settings, home=home, tell=tell, clients=clients, means=means)
        self.runs_folder = runs
        self._names: tuple[float, list[str]] = (float("-inf"), [])

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; machines and jobs go on."""
        self.cluster.close()

    # -- machines

    def status(self) -> ClusterStatus:
        """Return the cluster as it is now."""
        status = self.cluster.status()
        self._names = (time.monotonic(), [machine.name for machine in status.machines])
        return status

    def host_names(self) -> list[str]:
        """Return the names of the machines, for completion: as last seen when that was within 30 s."""
        if time.monotonic() - self._names[0] > NAMES_LIVE_S:
            self.status()
        return self._names[1]

    def plan(self, count: int | None = None) -> LaunchPlan:
        """Look up and check what a launch needs, and its price; nothing is changed."""
        return self.cluster.plan(count, more=inputs.checks(partial(s3.find, self.cluster.clients), self.job))

    def launch(self, plan: LaunchPlan) -> LaunchReport:
        """Launch machines and wait until they answer SSH; one that does not is replaced once, then in the report.

        :raises Busy: another shell of this computer is launching into the cluster.
        """
        return self._launch(plan, lambda host: None)[0]

    def _launch(
        self, plan: LaunchPlan, then: Callable[[Host], HostInstall | None]
    ) -> tuple[LaunchReport, list[HostInstall | None]]:
        clock = self.cluster.runtime.patience.monotonic
        began = clock()
        with self.cluster.launcher.lock():
            instances, api = self.cluster.launch(plan)
            arrived = self.cluster.wait_until_ready(instances, then, plan=plan)
            # Whom AWS refuses even to be asked, the next start tells what came of it all.
            if not any(isinstance(error, CloudRefused) for error in arrived.errors.values()):
                self.cluster.launcher.record_outcome(
                    plan.launch_id, ready=list(arrived.succeeded), failed=list(arrived.failed)
                )
        done = arrived.successful_values()
        report = LaunchReport(
            launch=plan.launch_id,
            api=api,
            ready=tuple(one.ready for one in done),
            failed=arrived.errors,
            seconds=clock() - began,
        )
        self.notes.launched(report)
        return report, [one.result for one in done]

    def stop_all(self) -> tuple[InstanceResult, ...]:
        """Stop the running machines; their disks stay, and cost."""
        return self.cluster.stop()

    def start_all(self) -> tuple[InstanceResult, ...]:
        """Start the stopped machines and wait until they answer SSH; one that does not has that as its error."""
        found, arrived = self.cluster.start()
        errors = arrived.errors if arrived else {}
        return tuple(replace(one, error=one.error or str(errors.get(one.name, ""))) for one in found)

    def terminate(self) -> TerminateReport:
        """End all machines of the cluster, its group and its key; what is left is in the report."""
        return self.cluster.terminate()

    def leftovers(self) -> tuple[InterruptedLaunch, ...]:
        """Return launches of this computer that were never seen to end; asks nobody when there is none."""
        from orchestrator.cluster import recovery

        return recovery.find_interrupted(self.cluster)

    def recover(self, *, end: bool) -> RecoverReport:
        """Finish what is left of such launches, or end it."""
        from orchestrator.cluster import recovery

        return (recovery.terminate if end else recovery.resume)(self.cluster, self.leftovers())

    def ssh_command(self, name: str) -> list[str]:
        """Return the argv of a plain OpenSSH session to a host, its host key pinned."""
        from orchestrator.ssh import command_line

        return command_line(self.cluster.hosts([name])[0], self.cluster.home / "ssh", self.cluster.ssh.clock)

    # -- install

    def install(self, names: Sequence[str] = ()) -> InstallReport:
        """Bring the hosts to where the job can run; every host starts as soon as its own SSH answers."""
        began = time.monotonic()
        hosts = self.cluster.hosts(names)
        installer = self._installer(self.job())

        def work(host: Host) -> HostInstall:
            self.cluster.ssh.wait_until_ready(host, timeout_s=self.settings.ssh.ready_timeout)
            return installer(self.cluster.key_rotation(host))

        outcomes = parallel.for_each(hosts, work, clock=self.cluster.ssh.clock)
        self.cluster.clear_boot_key_tags()
        return self._installed(outcomes.successful_values(), outcomes.errors, time.monotonic() - began)

    def _installed(self, done: Sequence[HostInstall], failed: dict[str, Exception], seconds: float) -> InstallReport:
        self.notes.installed(seconds)
        if odd := image_mismatch(done):
            self.cluster.tell(Event("", "image", "warning", text=odd))
        return InstallReport(tuple(done), failed, seconds)

    @property
    def notes(self) -> Notes:
        """What this computer knows of the cluster and can do without: timings, logs of installs."""
        mine = self.cluster.cluster_id
        return Notes(self.cluster.home / "clusters" / f"{mine.resource_name}-{mine.region}")

    def _installer(self, spec: jobs_spec.JobSpec) -> Installer:
        given = self.settings.install
        ecr_token = partial(ecr.authorization_token, self.cluster.clients)
        login = registry_login.login(ecr_token, given, steps.images(spec, given), os.environ)
        plan = steps.install(spec, given, login)
        logs = self.notes.logs
        return Installer(self.cluster.ssh, plan, logs, tell=self.cluster.tell, deadline=given.timeout)

    def job(self, folder: Path | None = None) -> jobs_spec.JobSpec:
        """Read the job: this folder's, or the one that the settings name."""
        given = self.settings.job
        spec = jobs_spec.load(folder or Path(given.run), os.environ, runtime=given.runtime)
        return replace(spec, recipe=steps.build_digest(self.settings.install)) if spec.runtime == "docker" else spec

    # -- runs

    def start_run(self, *, multi: bool, job: Path | None = None, names: Sequence[str] = ()) -> RunHandle:
        """Start the job, detached: it goes on whatever becomes of this computer.

        :param multi: over all hosts; otherwise on the first.
        :param job: another job's folder than the settings name.
        :param names: of the hosts to take; all when empty.
        """
        spec = self.job(job)
        hosts = self.cluster.hosts(names)
        run = build.new_run_id()
        built = build.build(spec, hosts, run=run, multi=multi)
        taking_part = [host for host in hosts if host.name in built.hosts]
        folder = self.runs_folder / run
        parallel.for_each(
            taking_part, self._code_installer(spec, folder), clock=self.cluster.ssh.clock
        ).raise_if_failed("the code did not get there")
        started = runner.start(self.cluster.ssh, {host.name: host for host in hosts}, built)
        if started.failed:
            # Half a run is no run: what began elsewhere is ended again.
            runner.cancel(self.cluster.ssh, taking_part, run)
            started.raise_if_failed(f"{spec.name} did not start")
        self.notes.begin(folder, built, self.settings)
        roles = {name: tuple(task.role for task in built.on(name)) for name in built.hosts}
        return RunHandle(run, spec.name, multi, roles, bool(built.dashboard), folder)

    def _code_installer(self, spec: jobs_spec.JobSpec, folder: Path) -> Installer:
        """Return what brings a job's code, as it is here now, to a host."""
        return Installer(
            self.cluster.ssh, steps.code_sync_plan(spec), folder / "logs", deadline=self.settings.install.timeout
        )

    def join(self, run: str = "") -> elastic.JoinReport:
        """Let hosts that came up later take part in an elastic run of the job; they have to be installed."""
        found = self._locate_run(run)
        code = self._code_installer(elastic.same_job(self.job(), found), self.runs_folder / found.run)
        return elastic.add_hosts(self.cluster.ssh, self.cluster.hosts(), found, code)

    def follow(self, run: str, *, on_line: Callable[[str, str], None]) -> RunResult:
        """Show a run's output from its beginning as it comes, until it ends.

        :param run: its id, or the end of it.
        :param on_line: called with (host, line), from one thread per host.
        :raises JobFailed: it ended badly, or its host was lost.
        """
        found = self._locate_run(run)
        hosts = [host for host in self.cluster.hosts() if host.name in found.main_hosts]
        missing = set(found.main_hosts) - {host.name for host in hosts}
        if missing:
            raise JobFailed(f"{', '.join(sorted(missing))} is gone", exit_status=None, where=found.job)
        outcomes = jobs_follow.follow(self.cluster.ssh, hosts, found.run, on_line=on_line)
        bad = [outcome for outcome in outcomes.values() if not (outcome.value and outcome.value.ok)]
        noticed = [each.value for each in outcomes.values() if each.value and each.value.reclaim_time]
        if noticed:
            self.cluster.launcher.note_spot_reclaims([each.host for each in noticed])
        if bad or noticed:  # a spot machine takes its disk with it
            self._keep(found)
        if bad:
            raise jobs_follow.failure(found, bad[0], logs=self.runs_folder / found.run / "logs")
        return RunResult(found.run, found.job, self._locate_run(found.run).seconds or 0.0)

    def _keep(self, run: jobs_runs.Run) -> None:
        """Bring what a failed run left; its own error is what counts, so a host that is gone changes nothing."""
        try:
            self.fetch(run.run)
        except StratusError as error:
            self.cluster.tell(Event("", "fetch", "warning", text=str(error).splitlines()[0]))

    def runs(self) -> list[RunSummary]:
        """Return the runs that the hosts know, oldest first."""
        found = jobs_runs.list_runs(self.cluster.ssh, self.cluster.hosts())
        return [
            RunSummary(one.run, one.job, one.multi, one.hosts, one.state, one.started_at, one.seconds) for one in found
        ]

    def logs(self, run: str = "", *, host: str = "", follow: bool = False) -> Iterator[tuple[str, str]]:
        """Yield (host, line) of a run's main log: what there is, or, with ``follow``, until it ends."""
        found = self._locate_run(run)
        names = [host] if host else list(found.hosts)
        return self._logs(found, self.cluster.hosts(names), follow=follow)

    def _logs(self, found: jobs_runs.Run, hosts: Sequence[Host], *, follow: bool) -> Iterator[tuple[str, str]]:
        from orchestrator.jobs.logs import tail

        return tail(self.cluster.ssh, hosts, found, follow=follow)

    def cancel(self, run: str = "") -> CancelReport:
        """End every process of a run on every host."""
        found = self._locate_run(run)
        up = [host for host in self.cluster.hosts() if host.name in found.hosts]
        outcomes = runner.cancel(self.cluster.ssh, up, found.run, found.running_tasks)
        gone = {name: HostError("is not up", where=name) for name in set(found.hosts) - {host.name for host in up}}
        left = {name: outcome.value for name, outcome in outcomes.items() if outcome.value is not None}
        return CancelReport(found.run, left, outcomes.errors | gone)

    def fetch(self, run: str = "") -> RunRecord:
        """Bring a run's outputs and logs to ``runs/<id>/`` and complete its record; the newest when none is named."""
        found = self._locate_run(run)
        began = time.monotonic()
        folder = self.runs_folder / found.run
        hosts = [host for host in self.cluster.hosts() if host.name in found.hosts]
        folder.mkdir(parents=True, exist_ok=True)
        outcomes = results.fetch(self.cluster.ssh, hosts, found, folder)
        if outcomes and not outcomes.succeeded:
            outcomes.raise_if_failed("nothing could be fetched")
        facts = json_file.load(folder, "record.json")
        timings = {**facts.get("timings", {}), **({"job": found.seconds} if found.seconds is not None else {})}
        bill = self._run_cost(found.hosts, found.seconds or 0.0)
        record = RunRecord(
            run=found.run,
            job=found.job,
            folder=folder,
            state=found.state,
            hosts=found.hosts,
            outputs=results.files_of(folder),
            bytes=sum(outcomes.successful_values()),
            seconds=time.monotonic() - began,
            metrics=results.metrics_of(folder),
            timings=timings,
            cost=bill.total,
            failed=outcomes.errors,
            bill=bill,
        )
        complete_record(record, facts)
        return record

    def dashboard(self, run: str = "") -> Dashboard:
        """Open a tunnel to the Dask dashboard of a run.

        :raises UsageError: the run has none.
        """
        found = self._locate_run(run)
        if not found.dashboard:
            raise UsageError(
                f"{found.run} has no dashboard", fix=NextStep("RunMultiVMComputing") + " of a dask job has one"
            )
        tunnel = self.cluster.ssh.forward(self.cluster.hosts([found.hosts[0]])[0], found.dashboard)
        return Dashboard(f"http://{tunnel.address}:{tunnel.port}/status", tunnel.close)

    def experiment(
        self, *, multi: bool, count: int | None = None, on_line: Callable[[str, str], None] = lambda host, line: None
    ) -> tuple[RunRecord, TerminateReport]:
        """Launch, install, run, fetch and terminate in one call; it terminates even when a step fails.

        :raises StratusError: what failed; the machines are ended all the same, or listed.
        """
        try:
            record = self._experiment(self.plan(count), multi=multi, on_line=on_line)
        except (Exception, KeyboardInterrupt) as error:
            self._terminate_after_failure(error)
            raise
        return record, self.terminate()

    def _experiment(self, plan: LaunchPlan, *, multi: bool, on_line: Callable[[str, str], None]) -> RunRecord:
        """Every host installs as soon as its own SSH is up."""
        installer = self._installer(self.job())
        report, installed = self._launch(plan, installer)
        self._installed([one for one in installed if one], {}, report.seconds)
        if report.failed:
            raise HostsFailed(f"{len(report.failed)} of {plan.count} hosts failed", report.failed)
        handle = self.start_run(multi=multi)
        self.follow(handle.run, on_line=on_line)
        return self.fetch(handle.run)

    def _terminate_after_failure(self, error: BaseException) -> None:
        """Terminate because something failed; what stays up is told with the error that came first."""
        try:
            left = self.terminate().left
        except StratusError as second:
            left = tuple(second.lines())
        if left:
            add_advice(error, "left: " + join("; ", left))

    def _locate_run(self, run: str) -> jobs_runs.Run:
        return jobs_runs.select_run(jobs_runs.list_runs(self.cluster.ssh, self.cluster.hosts()), run)

    def _run_cost(self, names: Sequence[str], seconds: float) -> cost.Bill:
        """Return what some hosts cost in a stretch of time."""
        machines = [one for one in self.status().machines if one.name in names]
        disks = cost.total(one.disk_per_hour for one in machines)
        both = cost.total(one.per_hour for one in machines)
        alone = None if both is None or disks is None else both - disks
        spot = {one.spot for one in machines}
        word = "partly" if len(spot) > 1 else "yes" if True in spot else "no"
        time_of_all = seconds * len(machines)
        return cost.Bill(time_of_all, cost.cost_for(alone, seconds), cost.cost_for(disks, seconds), word)
