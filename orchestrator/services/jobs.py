"""Use cases on jobs: install, start, follow, list, cancel, fetch; on hosts from any HostSource."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestrator.config.settings import InstallSettings
from orchestrator.core import cost, json_file
from orchestrator.core.clock import Clock
from orchestrator.core.errors import HostError, JobFailed, StratusError, UsageError
from orchestrator.core.events import Event, EventHandler
from orchestrator.core.host import Host
from orchestrator.core.host_source import HostSource
from orchestrator.core.next_step import NextStep
from orchestrator.hosts import parallel
from orchestrator.hosts.tunnels import Dashboard
from orchestrator.install import steps
from orchestrator.install.installer import HostInstall, Installer, InstallReport, image_mismatch
from orchestrator.install.registry_login import RegistryLogin
from orchestrator.jobs import build, elastic, follow, kill, logs, record, results, runner, runs, spec
from orchestrator.jobs.elastic import JoinReport
from orchestrator.jobs.record import RunRecord
from orchestrator.jobs.runner import CancelReport
from orchestrator.jobs.runs import LocatedRun, RunHandle, RunResult, RunSummary

if TYPE_CHECKING:
    from orchestrator.config.settings import Settings
    from orchestrator.ssh import SshClient


class Timings(Protocol):
    """Seconds per phase of what precedes a run."""

    def read(self) -> Mapping[str, float]:
        """Return seconds per phase."""
        ...

    def record_install(self, seconds: float) -> None:
        """Add the time that an install took."""
        ...


@dataclass(frozen=True)
class JobContext:
    """Everything that use cases on jobs need besides hosts.

    :param runs_folder: folder that runs are fetched into.
    :param logs_folder: returns the folder of the hosts' install logs.
    :param bill: returns what hosts (names) cost for some seconds.
    :param registry_login: returns the login that one of some images needs, or None.
    :param on_spot_reclaim: called with the names of hosts that AWS reclaimed while a run was followed.
    :param environ: variables of this computer that a ``job.ini`` may refer to.
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


class JobService:
    """Jobs on the hosts of one source."""

    def __init__(self, source: HostSource, context: JobContext) -> None:
        self.source = source
        self.context = context
        self.ssh = context.ssh
        # A run that was just started needs not be looked for; it is forgotten once it is followed.
        self._started: dict[str, LocatedRun] = {}

    # -- install

    def install(self, names: Sequence[str] = ()) -> InstallReport:
        """Bring hosts to where the job can run; every host starts as soon as it answers SSH.

        :param names: only these hosts; all that are up when empty.
        """
        began = self.context.clock.monotonic()
        installer = self.installer()
        outcomes = parallel.for_each(
            self.source.hosts(names), lambda host: installer(self.source.ready(host)), clock=self.context.clock
        )
        self.source.all_ready()
        seconds = self.context.clock.monotonic() - began
        return self.record_install(outcomes.successful_values(), outcomes.errors, seconds)

    def installer(self) -> Installer:
        """Return what installs the job of the settings on one host."""
        job, options = self.load_job(), self.context.settings.install
        login = self.context.registry_login(options, steps.images_to_pull(job, options))
        plan = steps.install_plan(job, options, login)
        return Installer(
            self.ssh, plan, self.context.logs_folder(), on_event=self.context.on_event, timeout_s=options.timeout
        )

    def record_install(
        self, installs: Sequence[HostInstall], failed: Mapping[str, Exception], seconds: float
    ) -> InstallReport:
        """Return the report of an install, and record how long it took."""
        self.context.timings.record_install(seconds)
        if mismatch := image_mismatch(installs):
            self.context.on_event(Event("", "image", "warning", text=mismatch))
        return InstallReport(tuple(installs), dict(failed), seconds)

    def load_job(self, folder: Path | None = None) -> spec.JobSpec:
        """Read a job.

        :param folder: of the job; the one that the settings name when None.
        """
        options = self.context.settings.job
        job = spec.load(folder or Path(options.run), self.context.environ, runtime=options.runtime)
        if job.runtime != "docker":
            return job
        return replace(job, recipe=steps.build_digest(self.context.settings.install))

    # -- runs

    def start(self, *, multi: bool, folder: Path | None = None, names: Sequence[str] = ()) -> RunHandle:
        """Start a job, detached: it runs on whether this computer stays connected or not.

        :param multi: on all hosts together; otherwise on the first.
        :param job: folder of another job than the settings name.
        :param names: of the hosts to use; all when empty.
        """
        loaded, hosts = self.load_job(folder), self.source.hosts(names)
        now = self.context.clock.now()
        plan = build.build(loaded, hosts, run_id=build.new_run_id(now), multi=multi, now=now)
        folder = self.context.runs_folder / plan.run_id
        members = [host for host in hosts if host.name in plan.hosts]
        parallel.for_each(members, self._code_installer(loaded, folder), clock=self.context.clock).raise_if_failed(
            "the code did not get there"
        )
        started = runner.start(self.ssh, {host.name: host for host in hosts}, plan)
        if started.failed:
            # Roll back a partial start: a run that lacks hosts would wait for them for ever.
            runner.cancel(self.ssh, members, plan.run_id)
            started.raise_if_failed(f"{loaded.name} did not start")
        record.start_record(folder, plan, self.context.settings, self.context.timings.read())
        record.copy_install_logs(self.context.logs_folder(), folder / "logs", plan.hosts)
        self._started[plan.run_id] = LocatedRun(runs.from_plan(plan), tuple(members))
        roles = {name: tuple(task.role for task in plan.tasks_on(name)) for name in plan.hosts}
        return RunHandle(plan.run_id, loaded.name, multi, roles, bool(plan.dashboard_port), folder)

    def add_hosts(self, run_id: str = "") -> JoinReport:
        """Add hosts that came up later to an elastic run of the job; they have to be installed."""
        hosts = self.source.hosts()
        located = self._locate(run_id, hosts)
        job = elastic.check_job(self.load_job(), located.run)
        code = self._code_installer(job, self.context.runs_folder / located.run.run_id)
        return elastic.add_hosts(self.ssh, hosts, located.run, code)

    def follow(self, run_id: str, *, on_line: Callable[[str, str], None]) -> RunResult:
        """Show a run's output from its beginning as it comes, until it ends.

        :param run: its id, or the end of it.
        :param on_line: called with (host, line), from one thread per host.
        :raises JobFailed: it ended badly, or its host was lost.
        """
        located = self._started.pop(run_id, None) or self._locate(run_id)
        if missing := located.missing_names(located.run.main_hosts):
            raise JobFailed(f"{', '.join(missing)} is gone", exit_status=None, where=located.run.job)
        outcomes = follow.follow(
            self.ssh, located.hosts_named(located.run.main_hosts), located.run.run_id, on_line=on_line
        )
        failed = [outcome for outcome in outcomes.values() if not (outcome.value and outcome.value.ok)]
        reclaimed = [
            outcome.value.host for outcome in outcomes.values() if outcome.value and outcome.value.reclaim_time
        ]
        if reclaimed:
            self.context.on_spot_reclaim(reclaimed)
        if failed or reclaimed:
            # A reclaimed instance takes its disk with it within two minutes.
            self._fetch_after_failure(located)
        if failed:
            raise follow.failure(
                located.run, failed[0], log_folder=self.context.runs_folder / located.run.run_id / "logs"
            )
        return RunResult(located.run.run_id, located.run.job, self._refresh(located).run.seconds or 0.0)

    def runs(self) -> list[RunSummary]:
        """Return the runs that the hosts report, oldest first."""
        return [runs.summarize(run) for run in runs.list_runs(self.ssh, self.source.hosts())]

    def logs(self, run_id: str = "", *, host: str = "", follow: bool = False) -> Iterator[tuple[str, str]]:
        """Yield (host, line) of a run's logs.

        :param host: only this host's.
        :param follow: until the run ends; otherwise what there is now.
        """
        located = self._locate(run_id)
        names = [host] if host else list(located.run.hosts)
        if missing := located.missing_names(names):
            raise UsageError(f"{', '.join(missing)}: not up", fix=f"up: {', '.join(located.host_names)}")
        return logs.tail(self.ssh, located.hosts_named(names), located.run, follow=follow)

    def cancel(self, run_id: str = "") -> CancelReport:
        """End every process of a run on every host."""
        located = self._locate(run_id)
        outcomes = runner.cancel(
            self.ssh, located.hosts_named(located.run.hosts), located.run.run_id, located.run.running_tasks
        )
        gone = {name: HostError("is not up", where=name) for name in located.missing_names(located.run.hosts)}
        left = {name: outcome.value for name, outcome in outcomes.items() if outcome.value is not None}
        return CancelReport(located.run.run_id, left, outcomes.errors | gone)

    def cancel_all(self) -> kill.KillReport:
        """End every process and container of every run on every host, however it was started."""
        return kill.kill_all(self.ssh, self.source.hosts())

    def fetch(self, run_id: str = "") -> RunRecord:
        """Bring a run's outputs and logs to ``runs/<id>/`` and complete its record.

        :param run: its id, or the end of it; the newest when empty.
        """
        return self._fetch(self._locate(run_id))

    def dashboard(self, run_id: str = "") -> Dashboard:
        """Open a tunnel to the Dask dashboard of a run.

        :raises UsageError: the run has none.
        """
        located = self._locate(run_id)
        if not located.run.dashboard_port:
            raise UsageError(
                f"{located.run.run_id} has no dashboard", fix=NextStep("RunMultiVMComputing") + " of a dask job has one"
            )
        first = located.run.hosts[0]
        if located.missing_names([first]):
            raise UsageError(f"{first}: not up", fix=f"up: {', '.join(located.host_names)}")
        tunnel = self.ssh.forward(located.hosts_named([first])[0], located.run.dashboard_port)
        return Dashboard(f"http://{tunnel.address}:{tunnel.port}/status", tunnel.close)

    # -- inside

    def _code_installer(self, job: spec.JobSpec, folder: Path) -> Installer:
        """Return what brings a job's code, as it is here now, to one host."""
        return Installer(
            self.ssh, steps.code_sync_plan(job), folder / "logs", timeout_s=self.context.settings.install.timeout
        )

    def _locate(self, run_id: str, hosts: Sequence[Host] | None = None) -> LocatedRun:
        """Resolve a run and the hosts that are up: one call for the hosts, one round trip to each."""
        up = list(hosts if hosts is not None else self.source.hosts())
        return LocatedRun(runs.select_run(runs.list_runs(self.ssh, up), run_id), tuple(up))

    def _refresh(self, located: LocatedRun) -> LocatedRun:
        """Return a located run as its hosts report it now; one round trip to each."""
        members = located.hosts_named(located.run.hosts)
        return replace(located, run=runs.select_run(runs.list_runs(self.ssh, members, located.run.run_id)))

    def _fetch_after_failure(self, located: LocatedRun) -> None:
        """Fetch what a failed run left; its own error is what counts, so a host that is gone changes nothing."""
        try:
            self._fetch(self._refresh(located))
        except StratusError as error:
            self.context.on_event(Event("", "fetch", "warning", text=str(error).splitlines()[0]))

    def _fetch(self, located: LocatedRun) -> RunRecord:
        run, began = located.run, self.context.clock.monotonic()
        folder = self.context.runs_folder / run.run_id
        folder.mkdir(parents=True, exist_ok=True)
        outcomes = results.fetch(self.ssh, located.hosts_named(run.hosts), run, folder)
        if outcomes and not outcomes.succeeded:
            outcomes.raise_if_failed("nothing could be fetched")
        started = json_file.load(folder, "record.json")
        job_s = {"job": run.seconds} if run.seconds is not None else {}
        bill = self.context.run_cost(run.hosts, run.seconds or 0.0)
        fetched = RunRecord(
            run_id=run.run_id,
            job=run.job,
            folder=folder,
            state=run.state,
            hosts=run.hosts,
            outputs=results.list_outputs(folder),
            received_bytes=sum(outcomes.successful_values()),
            seconds=self.context.clock.monotonic() - began,
            metrics=results.read_metrics(folder),
            timings={**started.get("timings", {}), **job_s},
            cost_usd=bill.total,
            failed=outcomes.errors,
            bill=bill,
        )
        record.complete_record(fetched, started)
        return fetched
