"""Use cases on jobs: install, start, follow, list, cancel, fetch; on hosts from any HostSource."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.config.access import Access
from orchestrator.config.settings import InstallSettings
from orchestrator.core import cost
from orchestrator.core.clock import Clock
from orchestrator.core.errors import JobFailed, StratusError, UsageError, first_line
from orchestrator.core.events import Event, EventHandler
from orchestrator.core.host import Host, HostSource
from orchestrator.core.next_step import NextStep
from orchestrator.hosts import parallel
from orchestrator.hosts.disk_room import FullDisks
from orchestrator.hosts.tunnels import Dashboard, Tunnels, open_dashboard
from orchestrator.install import steps
from orchestrator.install.installer import HostInstall, Installer, InstallReport
from orchestrator.install.job_installs import JobInstalls
from orchestrator.install.registry_login import RegistryLogin
from orchestrator.jobs import build, elastic, follow, host_output, kill, logs, query, record, results, runner, spec
from orchestrator.jobs.elastic import JoinReport
from orchestrator.jobs.frameworks import registry
from orchestrator.jobs.record import RunRecord
from orchestrator.jobs.records import waterfall
from orchestrator.jobs.records.bucket_results import BucketResults
from orchestrator.jobs.records.run_folders import RunFolders
from orchestrator.jobs.records.timings import Timings
from orchestrator.jobs.runner import CancelReport
from orchestrator.jobs.runs import LocatedRun, RunHandle, RunResult, RunSummary, TaskExit
from orchestrator.jobs.scripts.script_job import JobSource, ScriptJob
from orchestrator.jobs.storage.checkpoint_places import CheckpointPlaces, RunStore

if TYPE_CHECKING:
    from orchestrator.config.settings import Settings
    from orchestrator.ssh import SshClient
    from orchestrator.ssh.tar_stream import UnpackBudget


@dataclass(frozen=True)
class JobContext:
    """Everything that use cases on jobs need besides hosts.

    :param runs_folder: folder that runs are fetched into.
    :param folder_list: file that lists the folders of all runs of this computer; None without one.
    :param logs_folder: returns the folder of the hosts' install logs.
    :param run_cost: returns what hosts (names) cost for some seconds.
    :param registry_login: returns the login that one of some images needs, or None.
    :param on_spot_reclaim: called with the names of hosts that AWS reclaimed while a run was followed.
    :param environ: variables of this computer that a ``job.ini`` may refer to.
    :param result_store: S3, for jobs that write results or checkpoints there; None without one.
    :param instance_states: returns id -> state of the instances that are not terminated, as they are now; None where
        hosts are no instances.
    """

    settings: Settings
    ssh: SshClient
    on_event: EventHandler
    clock: Clock
    runs_folder: Path
    logs_folder: Callable[[], Path]
    timings: Timings
    run_cost: Callable[[Sequence[str], float], cost.Bill]
    registry_login: Callable[[InstallSettings, Iterable[str]], RegistryLogin | None]
    on_spot_reclaim: Callable[[Sequence[str]], None]
    environ: Mapping[str, str] = field(repr=False)
    tunnels: Tunnels
    instance_states: Callable[[], Mapping[str, str]] | None = None
    folder_list: Path | None = None
    result_store: RunStore | None = None


class JobService:
    """Jobs on the hosts of one source."""

    def __init__(self, source: HostSource, context: JobContext) -> None:
        self.source = source
        self.context = context
        self.ssh = context.ssh
        self.clock = context.clock
        self.installs = JobInstalls(
            source,
            context.settings,
            context.ssh,
            context.on_event,
            context.logs_folder,
            context.registry_login,
            context.timings.record_install,
        )
        self._bucket = BucketResults(
            context.result_store, context.runs_folder, self._budget, self.clock, lambda: self.load_job().options.results
        )
        self._checkpoints = CheckpointPlaces(context.result_store, bool(context.settings.aws.instance_profile))
        self._folders = RunFolders(context.runs_folder, context.folder_list, self._warn)
        # A run started here is known without asking its hosts; dropped when followed, as hosts may change afterwards.
        self._started: dict[str, tuple[LocatedRun, Mapping[str, runner.LiveLog]]] = {}

    # -- install

    def install(self, names: Sequence[str] = (), *, folder: JobSource | None = None) -> InstallReport:
        """Install a job's environment, data and code; every host begins as soon as it answers SSH.

        :param names: only these hosts; all that are up when empty.
        :param folder: of another job than the one in the settings, or a script.
        """
        return self.installs.install(self.load_job(folder), self.source.hosts(names))

    def installer(self, job: spec.JobSpec | None = None, host_count: int = 1) -> Installer:
        """Return the installer of a job, for one host at a time.

        :param job: the one in the settings when None.
        :param host_count: hosts that it will be used for: they pass on large uploads to each other.
        """
        return self.installs.installer(job or self.load_job(), host_count)

    def record_install(
        self,
        installs: Sequence[HostInstall],
        failed: Mapping[str, Exception],
        seconds: float,
        job: spec.JobSpec | None = None,
    ) -> InstallReport:
        """Record the duration of an install, and return its report.

        :param job: the one in the settings when None.
        """
        return self.installs.record(job or self.load_job(), installs, failed, seconds)

    def load_job(self, folder: JobSource | None = None, *, needs_data: bool = True) -> spec.JobSpec:
        """Read a job.

        :param folder: of the job, or a script; the one in the settings when None.
        :param needs_data: False if local data need not exist.
        """
        options = self.context.settings.job
        if isinstance(folder, ScriptJob):
            job = folder.spec(runtime=options.runtime)
        else:
            path, env, access = folder or Path(options.run), self.context.environ, Access.of(options)
            job = spec.load(path, env, runtime=options.runtime, access=access, needs_data=needs_data)
        # The build's arguments are settings of this user, not of the job, but part of the image's name.
        digest = steps.build_digest(self.context.settings.install) if job.runtime == "docker" else ""
        return replace(job.mounted(self.context.settings.file_systems), build_digest=digest)

    def check(self, *, multi: bool, count: int, folder: JobSource | None = None) -> None:
        """Check that a job can be run on a number of hosts; contacts none.

        :param multi: on all of them together; otherwise on the first.
        :param folder: of another job than the one in the settings, or a script.
        :raises StratusError: it cannot.
        """
        build.check(self.load_job(folder), count, multi=multi)

    # -- runs

    def start(
        self, *, multi: bool, folder: JobSource | None = None, names: Sequence[str] = (), follow: bool = False
    ) -> RunHandle:
        """Start a job, detached: it continues without a connection from this computer.

        What the job lacks on its hosts is installed first.

        :param multi: on all hosts together; otherwise on the first.
        :param folder: of another job than the one in the settings, or a script.
        :param names: of the hosts to use; all when empty.
        :param follow: :meth:`follow` is called next, and reads the output over the connections of the start.
        """
        job, hosts = self.load_job(folder), self.source.hosts(names)
        now = self.clock.now()
        plan = build.build(job, hosts, run_id=build.new_run_id(now), multi=multi, now=now)
        members = [host for host in hosts if host.name in plan.hosts]
        run_folder = self._run_folder(plan.run_id)
        self._report_phase("connect", members)
        streams = self.installs.prepare_start(
            job,
            members,
            run_folder,
            runner.files_of_run(plan, self._bucket.place_files(plan), self._checkpoints.files(plan)),
        )
        self._report_phase("start", members)
        started = runner.start(self.ssh, members, plan, streams, follow=follow)
        if started.busy:
            self.context.on_event(Event("", "note", "progress", text=runner.shared(started.busy)))
        self._record_start(plan, members, run_folder, (self.clock.now() - now).total_seconds())
        # Read back from the manifest, so that it is the run that any other computer would resolve.
        run = host_output.parse_manifest(plan.manifest, plan.run_id)
        self._started[plan.run_id] = LocatedRun(run, tuple(members)), started.logs
        return RunHandle(plan.run_id, job.name, multi, plan.roles, bool(plan.dashboard_port), run_folder)

    def add_hosts(self, run_id: str = "") -> JoinReport:
        """Add hosts that came up later to an elastic run of the job; what it lacks there is installed first."""
        located = self._locate(run_id)
        job = elastic.check_job(self.load_job(), located.run)
        folder = self._run_folder(located.run.run_id)
        return elastic.add_hosts(
            self.ssh, located, job.data_links, lambda host: self.installs.prepare_run(job, [host], folder)
        )

    def follow(
        self, run_id: str, *, on_line: follow.OnLine, on_hosts: Callable[[Sequence[str]], None] = lambda _hosts: None
    ) -> RunResult:
        """Pass on a run's output from its beginning as it comes, until it ends.

        :param run_id: its id, or the end of it.
        :param on_line: called with (host, line), from one thread per host.
        :param on_hosts: called before the first line with the names of the hosts whose output follows.
        :raises JobFailed: it ended badly, or its host was lost.
        """
        located, live = self._started.pop(run_id) if run_id in self._started else (self._locate(run_id), follow.NO_LOGS)
        run = located.run
        # Without this check the other hosts would be followed to the end of a job that cannot end well.
        if missing := located.missing_names(run.main_hosts):
            raise JobFailed(f"{', '.join(missing)} is gone", exit_status=None, where=run.job)
        on_hosts(run.main_hosts)
        hosts, full_disks = located.hosts_named(run.main_hosts), FullDisks(self.context.logs_folder, self.clock.now)
        on_disk = full_disks.warn(self.context.on_event)
        exits = follow.follow(self.ssh, hosts, run.run_id, on_line=on_line, logs=live, on_disk=on_disk)
        if not exits.failed:
            record.note_end(self._run_folder(run.run_id), self.clock.now(), exits.successful_values())
        self._handle_failure(located, exits)
        return RunResult(run.run_id, run.job, follow.duration_s(exits.successful_values()))

    def runs(self) -> list[RunSummary]:
        """Return the runs that the hosts report, oldest first."""
        listed = query.list_runs(self.ssh, self.source.hosts(), self.context.runs_folder)
        for problem in listed.problems:
            self._warn(problem)
        return [run.summary for run in listed.runs]

    def history(self) -> list[record.PastRun]:
        """Return the runs that were started or fetched on this computer, oldest first; makes no API call."""
        return record.past_runs(self.context.runs_folder)

    def not_fetched(self, instance_ids: Collection[str]) -> tuple[str, ...]:
        """Return the ids of the runs on some instances, in any folder of this computer, not fetched after their end."""
        return self._folders.not_fetched(instance_ids)

    def note_stopped(self, instance_ids: Collection[str]) -> tuple[str, ...]:
        """Return the ids of the runs that stopping instances has ended, and note their end; each is named once."""
        return self._folders.note_stopped(instance_ids, self.clock.now())

    def started_in(self, run_ids: Collection[str]) -> dict[str, str]:
        """Return run id -> folder in which it was started, of those that were started in another one."""
        return self._folders.started_in(run_ids)

    def logs(self, run_id: str = "", *, host: str = "", follow: bool = False) -> Iterator[tuple[str, str]]:
        """Yield (host, line) of a run's logs.

        :param run_id: its id, or the end of it; the newest when empty.
        :param host: only this host's.
        :param follow: until the run ends; otherwise the present content only.
        """
        located = self._locate(run_id)
        run = located.run
        if host and host not in run.hosts:
            raise UsageError(f"{run.run_id} did not run on {host}", fix=f"its VMs: {', '.join(run.hosts)}")
        hosts = located.require_hosts([host] if host else run.hosts)
        return logs.tail(self.ssh, hosts, run, follow=follow)

    def cancel(self, run_id: str = "") -> CancelReport:
        """End every process of a run on every host.

        :param run_id: its id, or the end of it; the newest when empty.
        """
        report = runner.cancel(self.ssh, self._locate(run_id))
        if not report.failed:
            record.note_end(self._run_folder(report.run_id), self.clock.now())
        return report

    def cancel_all(self) -> kill.KillReport:
        """Kill every process and container of every run on every host, however it was started."""
        return kill.kill_all(self.ssh, self.source.hosts())

    def fetch(self, run_id: str = "") -> RunRecord:
        """Fetch a run's outputs and logs to ``runs/<id>/`` and complete its record.

        :param run_id: its id, or the end of it; the newest when empty.
        """
        try:
            located = self._locate(run_id)
        except UsageError:
            # The VMs are gone: what they wrote to S3 is left.
            if fetched := self._bucket.fetch(run_id):
                return fetched
            raise
        return self._fetch(located)

    def dashboard(self, run_id: str = "") -> Dashboard:
        """Open a tunnel to the dashboard of a run.

        :param run_id: its id, or the end of it; the newest when empty.
        :raises UsageError: the run has none.
        """
        located = self._locate(run_id)
        run = located.run
        if not run.dashboard_port:
            names = registry.names_with(lambda framework: framework.has_dashboard)
            raise UsageError(
                f"{run.run_id} has no dashboard", fix=NextStep("RunMultiVMComputing") + f" of a {names} job has one"
            )
        (first,) = located.require_hosts(run.hosts[:1])
        return open_dashboard(self.context.tunnels, first, run.dashboard_port)

    # -- shared steps

    def _report_phase(self, phase: str, hosts: Sequence[Host]) -> None:
        for host in hosts:
            self.context.on_event(Event(host.name, phase, "start"))

    def _locate(self, run_id: str) -> LocatedRun:
        """Resolve a run and the hosts that are up: one call for the hosts, one round trip to each."""
        try:
            folder = self.context.runs_folder
            return query.locate(self.ssh, self.source.hosts(), run_id, folder, on_problem=self._warn)
        except UsageError as error:
            # After TerminateAll() the VMs are gone, but not what was fetched from them.
            raise self._explain_missing(error, run_id) from None

    def _explain_missing(self, error: UsageError, run_id: str) -> UsageError:
        context, states = self.context, self._instance_states()
        if states is None:
            return error
        return record.explain_missing(
            error, context.runs_folder, run_id, settings=context.settings, present=states.keys()
        )

    def _instance_states(self) -> Mapping[str, str] | None:
        """Return id -> state of the instances that are not terminated; None if that is not known."""
        try:
            return self.context.instance_states() if self.context.instance_states else None
        except StratusError:
            return None

    def _warn(self, text: str) -> None:
        self.context.on_event(Event("", "runs", "warning", text=text))

    def _run_folder(self, run_id: str) -> Path:
        return self.context.runs_folder / run_id

    def _record_start(self, plan: build.JobPlan, members: Sequence[Host], folder: Path, start_s: float) -> None:
        instances = {host.name: host.identity for host in members}
        timings = self.context.timings.read(plan.spec.name)
        record.start_record(folder, plan, self.context.settings, timings, self.clock.now(), instances)
        waterfall.begin(folder, plan.hosts, self.context.timings.by_host(plan.spec.name), start_s)
        self._folders.note_own()
        record.copy_install_logs(self.context.logs_folder(), folder / "logs", plan.hosts)

    def _handle_failure(self, located: LocatedRun, exits: parallel.Outcomes[TaskExit]) -> None:
        """Fetch what a failed or reclaimed run left, and raise its failure."""
        failed = [outcome for outcome in exits.values() if not (outcome.value and outcome.value.ok)]
        # The limit of time first: tasks that fail as it ends their peers are not the cause.
        failed.sort(key=lambda outcome: outcome.value is None or outcome.value.reason != "timeout")
        reclaimed = [task.host for task in exits.successful_values() if task.reclaim_time]
        if reclaimed:
            self.context.on_spot_reclaim(reclaimed)
        states = self._instance_states() if any(outcome.value is None for outcome in failed) else None
        if failed or reclaimed:
            # At once: AWS terminates a reclaimed instance, and its disk, two minutes after the notice.
            self._fetch_after_failure(located if states is None else located.on_running(states))
        if failed:
            state = "" if states is None else states.get(failed[0].host.identity, "terminated")
            log_folder = self._run_folder(located.run.run_id) / "logs"
            raise follow.failure(located.run, failed[0], log_folder=log_folder, instance_state=state)

    def _fetch_after_failure(self, located: LocatedRun) -> None:
        """Fetch a failed run; errors are only reported, as the run's own is raised afterwards."""
        if not located.members:
            return
        try:
            self._fetch(query.refresh(self.ssh, located, self.context.runs_folder))
        # Every error, also one of this computer's disk: the run's own must not be replaced by it.
        except Exception as error:
            self.context.on_event(Event("", "fetch", "warning", text=first_line(error)))

    def _budget(self) -> UnpackBudget:
        options = self.context.settings.job
        return results.fetch_budget(self.context.runs_folder, options.max_fetch_gib, options.max_fetch_files)

    def _fetch(self, located: LocatedRun) -> RunRecord:
        run, started_at = located.run, self.clock.monotonic()
        folder = self._run_folder(run.run_id)
        received = results.fetch(self.ssh, located, folder, self._budget())
        elapsed_s = run.elapsed_s(self.clock.now())
        bill = cost.UNKNOWN_BILL if elapsed_s is None else self.context.run_cost(run.hosts, elapsed_s)
        # A host that is not up has the run, too: without it the record would refuse it later.
        instances = {} if located.missing_members else {host.name: host.identity for host in located.members}
        return record.complete_record(
            folder,
            run,
            received,
            bill,
            seconds=self.clock.monotonic() - started_at,
            fetched_at=self.clock.now(),
            instances=instances,
        )
