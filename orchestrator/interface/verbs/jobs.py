"""The verbs: each asks the session for one thing and shows what it answered. Shell and command line share them.

The docstrings of :class:`Verbs` are what ``LaunchInstances?`` shows, so they speak to the user of the shell.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from orchestrator.cluster.recovery import RecoverReport
from orchestrator.core.errors import JobFailed, LeftRunning, StratusError, UsageError
from orchestrator.interface.render import cluster, hosts, install, launch, units
from orchestrator.interface.render import runs as render_runs
from orchestrator.interface.verbs.account import AccountVerbs
from orchestrator.interface.verbs.base import Interrupted
from orchestrator.interface.verbs.follow import Lines, what_now
from orchestrator.interface.verbs.hosts import HostVerbs

if TYPE_CHECKING:
    from orchestrator.aws.ec2.state_changes import InstanceResult
    from orchestrator.cluster.launcher import LaunchReport
    from orchestrator.cluster.status import ClusterStatus
    from orchestrator.cluster.terminate import TerminateReport
    from orchestrator.hosts.tunnels import Dashboard
    from orchestrator.install.installer import InstallReport
    from orchestrator.jobs.elastic import JoinReport
    from orchestrator.jobs.record import RunRecord
    from orchestrator.jobs.runner import CancelReport
    from orchestrator.jobs.runs import RunHandle, RunResult, RunSummary

Followed: TypeAlias = "RunResult | RunHandle | CancelReport | None"
"""Outcome of watching a run: it ended well, was left running (None: only its id is known), or was cancelled."""


class Verbs(AccountVerbs, HostVerbs):
    """Everything a user can ask for."""

    def launch(self, n: int | None = None, *, yes: bool = False) -> LaunchReport:
        """Launch VMs: shows what, where and at what price, asks, waits for SSH.

        n     how many (default: [cluster] count in the config file). They join those that are up already.
        yes   do not ask.

        Costs  the price shown, from now until TerminateAll(); each VM ends itself after [cluster] max_hours.
        Example  LaunchInstances(2)
        Next  InstallDeps()
        """
        session = self.desk.session()
        plan = session.cluster.plan(_positive(n))
        self._show_plan(plan)
        self._agree("  Launch? [Y/n] ", yes)
        with self._at_work("Machines may be up.", "Status()  lists them", "TerminateAll()  ends them"):
            report = session.cluster.launch(plan)
        self._answer(report, launch.launch(report))
        _all_well(report.failed, "did not come up", fix="Status() shows them; TerminateAll() ends them")
        return report

    def status(self) -> ClusterStatus:
        """Show every VM: state, zone, address, age, price, when it ends itself.

        Costs  nothing.
        Example  Status()
        """
        status = self.desk.session(files=False).cluster.status()
        return self._answer(status, cluster.status(status))

    def install(self, *names: str) -> InstallReport:
        """Install what the job needs on every VM; again, it is a check.

        Python and requirements, or the container; then data and code. All hosts at once, each in one round trip.

        names  only these hosts (default: all that are up).

        Costs  nothing beyond the VMs' time.
        Example  InstallDeps()   or   InstallDeps("ml-1")
        Next  RunSingleVMComputing() or RunMultiVMComputing()
        """
        session = self.desk.session()
        with self._at_work("What is done stays done.", "InstallDeps()  goes on from there"):
            report = session.jobs.install(names)
        self._answer(report, install.install(report))
        _all_well(report.failed, "could not be installed", fix="InstallDeps() tries again; what is done stays done")
        return report

    def run_single(self, job: str = "", *, host: str = "", detach: bool = False) -> Followed:
        """Run the job on one VM and show its output.

        It runs on the VM by itself: neither Ctrl-C nor a lost laptop ends it.

        job     folder of the job (default: [job] run in the config file).
        host    which VM (default: the first).
        detach  start it and come back at once.

        Costs  nothing beyond the VM's time.
        Example  RunSingleVMComputing()
        Next  FetchResults()
        """
        return self._run(job, multi=False, names=(host,) if host else (), detach=detach)

    def run_multi(self, job: str = "", *, detach: bool = False) -> Followed:
        """Run the job on all VMs together and show its output.

        It runs on the VMs by itself: neither Ctrl-C nor a lost laptop ends it.

        job     folder of the job (default: [job] run in the config file).
        detach  start it and come back at once.

        Costs  nothing beyond the VMs' time.
        Example  RunMultiVMComputing()
        Next  FetchResults()
        """
        return self._run(job, multi=True, names=(), detach=detach)

    def attach(self, run: str = "") -> Followed:
        """Come back to a run and watch it from its beginning, from any computer.

        run  its id, or the end of it (default: the newest).

        Example  Attach("k3")
        Next  FetchResults()
        """
        return self._watch(run, Lines(self.console))

    def runs(self) -> list[RunSummary]:
        """List the runs that the VMs know: id, state, job, when, how long, where.

        Example  Runs()
        Next  Attach("k3"), Logs("k3") or FetchResults("k3")
        """
        found = self.desk.session().jobs.runs()
        return self._answer(found, render_runs.runs(found, _now()))

    def logs(self, run: str = "", *, host: str = "", follow: bool = False) -> None:
        """Print the log of a run so far.

        run     its id, or the end of it (default: the newest).
        host    only this host's.
        follow  go on until the run ends.

        Example  Logs("k3", host="ml-1")
        """
        lines = Lines(self.console, named=not host)
        show = lines.listener()
        for name, line in self.desk.session().jobs.logs(run, host=host, follow=follow):
            show(name, line)

    def cancel(self, run: str = "") -> CancelReport:
        """End a run: every process and container of it, on every host.

        run  its id, or the end of it (default: the newest).

        Example  CancelJob("k3")
        """
        report = self.desk.session().jobs.cancel(run)
        self._answer(report, render_runs.cancelled(report))
        _all_well(report.failed, "could not be asked to cancel", fix=f'CancelJob("{report.run_id}") tries again')
        stuck = [f"{host}: {units.count(n, 'process', 'processes')}" for host, n in report.left.items() if n]
        if stuck:
            raise LeftRunning(f"{report.run_id}: some would not go", left=stuck, fix="TerminateAll() ends the VMs")
        return report

    def join(self, run: str = "") -> JoinReport:
        """Let VMs that came up later take part in an elastic run, without starting it again.

        They have to be installed: LaunchInstances(1), InstallDeps(), then this.

        run  its id, or the end of it (default: the newest).

        Example  JoinJob("k3")
        """
        report = self.desk.session().jobs.add_hosts(run)
        self._answer(report, hosts.joined(report))
        _all_well(report.failed, "did not join", fix="InstallDeps(), then JoinJob() again")
        return report

    def fetch(self, run: str = "") -> RunRecord:
        """Bring a run's outputs, logs and record to runs/<id>/ here.

        run  its id, or the end of it (default: the newest).

        Example  FetchResults()
        Next  TerminateAll(), when nothing more is to run
        """
        with self._at_work("Nothing is lost.", "FetchResults()  begins again"):
            record = self.desk.session().jobs.fetch(run)
        self._answer(record, render_runs.fetched(record))
        _all_well(record.failed, "sent nothing", fix="FetchResults() tries again")
        return record

    def terminate(self) -> TerminateReport:
        """End every VM of this cluster that is yours, and all that belongs to it.

        Asks nothing. Works from any computer, from the tags alone. What is on the VMs is gone: FetchResults() first.

        Example  TerminateAll()
        """
        session = self.desk.session(files=False)
        with self._at_work("Some may still be up.", "TerminateAll()  ends the rest"):
            report = session.cluster.terminate()
        self._answer(report, cluster.terminated(report))
        if report.remaining:
            raise LeftRunning("Still there:", left=report.remaining, fix="TerminateAll() tries again")
        return report

    def recover(self, then: str = "") -> RecoverReport:
        """Finish or end launches that were cut short: a crash, a closed laptop, a hasty Ctrl-C.

        then  finish: wait until their VMs answer SSH; terminate: end them. Without it they are listed.

        Costs  nothing more; what is listed costs until it ends.
        Example  Recover("terminate")
        """
        if then not in ("", "finish", "terminate"):
            raise UsageError(f"{then!r}: finish or terminate?", fix='Recover("finish") or Recover("terminate")')
        session = self.desk.session(files=False)
        if not then:
            return self._recovered(RecoverReport(session.cluster.interrupted_launches()))
        with self._at_work("Recover() lists what is left."):
            report = session.cluster.recover(terminate=then == "terminate")
        return self._recovered(report)

    def _recovered(self, report: RecoverReport) -> RecoverReport:
        self._answer(report, launch.recovered(report, _now()))
        if report.remaining:
            raise LeftRunning("Still there:", left=report.remaining, fix="TerminateAll() tries again")
        _all_well(report.failed, "did not come up", fix="Status() shows them; TerminateAll() ends them")
        return report

    def stop(self) -> Sequence[InstanceResult]:
        """Stop every VM: it costs no more, its disk stays and is billed.

        Example  StopAll()
        Next  StartAll()
        """
        session = self.desk.session(files=False)
        with self._at_work("Some may have changed.", "Status()  shows which"):
            results = session.cluster.stop()
        self._answer(results, cluster.instances(results))
        return _each_one(results, "was not stopped")

    def start(self) -> Sequence[InstanceResult]:
        """Start the VMs that StopAll() stopped, and wait for SSH.

        Costs  as before: Cost()
        Example  StartAll()
        """
        session = self.desk.session()
        with self._at_work("Some may have changed.", "Status()  shows which"):
            results = session.cluster.start()
        self._answer(results, cluster.instances(results))
        return _each_one(results, "was not started")

    def experiment(
        self, multi: bool = False, n: int | None = None, *, yes: bool = False
    ) -> tuple[RunRecord, TerminateReport]:
        """Launch, install, run, fetch, terminate: all in one.

        It terminates even when a step on the way fails.

        multi  on all VMs together (default: on one).
        n      how many VMs (default: [cluster] count).
        yes    do not ask.

        Costs  the price shown, until the end of it.
        Example  RunExperiment(multi=True, n=2)
        """
        session = self.desk.session()
        plan = session.cluster.plan(_positive(n))
        self._show_plan(plan)
        self._agree("  Launch, run and terminate? [Y/n] ", yes)
        with self._at_work("All was to be ended.", "Status()  shows whether it was", redraw=False):
            show = Lines(self.console, named=multi).listener()
            record, ended = session.experiment(multi=multi, count=_positive(n), on_line=show)
        self._answer((record, ended), [*render_runs.fetched(record), *cluster.terminated(ended)])
        _all_well(record.failed, "sent nothing")
        if ended.remaining:
            raise LeftRunning("Still there:", left=ended.remaining, fix="TerminateAll() tries again")
        return record, ended

    def ssh(self, host: str, *command: str) -> int:
        """Open a terminal on a VM, or run one command there.

        The VM's host key is checked. Returns the exit status.

        host     its name; Tab completes it.
        command  what to run there.

        Example  Ssh("ml-0")   or   Ssh("ml-0", "nvidia-smi")
        """
        argv = self.desk.session().hosts.ssh_command(host)
        try:
            return subprocess.call([*argv, *command])
        except FileNotFoundError:
            raise UsageError(f"{argv[0]}: no such program here", fix="install the OpenSSH client") from None

    def dashboard(self, run: str = "") -> Dashboard:
        """Open a tunnel to a run's Dask dashboard, until you leave.

        run  its id, or the end of it (default: the newest).

        Example  Dashboard()
        """
        dashboard = self.desk.session().jobs.dashboard(run)
        self.desk.keep(dashboard.close)
        return self._answer(dashboard, cluster.dashboard(dashboard))

    def config(self, what: str = "show", *, use: str = "") -> None:
        """Show the settings and where each comes from; check or change the file.

        what  show, check, init, template or reference.
        use   path of another config file to work by from now on.

        Example  Config()   or   Config("check")   or   Config(use="config/local.ini")
        """
        from orchestrator.interface.verbs import config

        if use:
            self.desk.use(Path(use))
            self.console.say(f"  From now on {use}.")
            return
        config.carry_out(what, self.desk, lambda _: None)

    def _run(self, job: str, *, multi: bool, names: Sequence[str], detach: bool) -> Followed:
        session = self.desk.session()
        folder = Path(job) if job else None
        with self._at_work("It may have started.", "Runs()  tells"):
            handle = session.jobs.start(multi=multi, folder=folder, names=tuple(names))
        self._answer(handle, render_runs.started(handle))
        if detach:
            self.console.say(render_runs.left_running(handle.short_id))
            return handle
        mains = sum("main" in roles for roles in handle.roles.values())
        return self._watch(handle.run_id, Lines(self.console, named=mains > 1), handle)

    def _watch(self, run: str, lines: Lines, handle: RunHandle | None = None) -> Followed:
        session = self.desk.session()
        while True:
            try:
                result = session.jobs.follow(run, on_line=lines.listener())
            except KeyboardInterrupt:
                lines.pause()
            except JobFailed as error:
                raise self._not_twice(error, lines) from error
            else:
                return self._answer(result, render_runs.finished(result))
            answer = what_now(self.console)
            if answer == "c":
                return self.cancel(run)
            if answer == "l":
                return self._leave(run, handle)

    def _leave(self, run: str, handle: RunHandle | None) -> RunHandle | None:
        short = handle.short_id if handle else run.rsplit("-", 1)[-1]
        self.console.say(render_runs.left_running(short))
        if not self.console.asks:
            raise Interrupted("")
        return handle

    def _not_twice(self, error: JobFailed, lines: Lines) -> JobFailed:
        """Return the error without the last lines when they stand right above it."""
        if len(lines.shown) != 1 or self.console.document:
            return error
        return JobFailed(error.message, exit_status=error.exit_status, where=error.where, fix=error.fix)


def _positive(n: int | None) -> int | None:
    if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 1):
        raise UsageError(f"n = {n!r}: how many VMs? A whole number from 1 on", fix="LaunchInstances(2)")
    return n


def _now() -> datetime:
    return datetime.now(UTC)


def _all_well(failed: Mapping[str, Exception], what: str, *, fix: str = "") -> None:
    """Raise when hosts failed; their own errors were shown already."""
    unsure = [f"{name}: {line}" for name, each in failed.items() if isinstance(each, LeftRunning) for line in each.left]
    if unsure:
        raise LeftRunning(f"{' '.join(failed)} {what}", left=unsure, fix=fix)
    if failed:
        raise StratusError(f"{' '.join(failed)} {what}", fix=fix)


def _each_one(results: Sequence[InstanceResult], what: str) -> Sequence[InstanceResult]:
    wrong = [one for one in results if one.error]
    if wrong:
        raise StratusError(f"{' '.join(one.name for one in wrong)} {what}", fix="Status() shows the state of each")
    return results
