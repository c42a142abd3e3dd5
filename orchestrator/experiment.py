"""An experiment: launch, install, run, fetch and terminate in one call, also when a step fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.aws.launch.plan import LaunchPlan
from orchestrator.cluster.terminate import TerminateReport
from orchestrator.core import interrupts
from orchestrator.core.errors import HostsFailed, JobFailed, StratusError, first_line
from orchestrator.core.events import Event, EventHandler
from orchestrator.core.next_step import NextStep, add_advice, join, replace_advice
from orchestrator.jobs.record import RunRecord
from orchestrator.jobs.runs import RunHandle
from orchestrator.jobs.scripts.script_job import JobSource
from orchestrator.services.cluster import ClusterService
from orchestrator.services.jobs import JobService


@dataclass(frozen=True)
class Experiment:
    """The steps of an experiment, by the services of one session.

    :param keep_failed_minutes: time for which the VMs of a failed job stay up; 0 terminates them at once.
    """

    cluster: ClusterService
    jobs: JobService
    on_event: EventHandler
    keep_failed_minutes: int = 0

    def run(
        self,
        plan: LaunchPlan,
        job: JobSource | None,
        *,
        multi: bool,
        on_line: Callable[[str, str], None],
        on_start: Callable[[RunHandle], None],
    ) -> tuple[RunRecord, TerminateReport]:
        """Carry out a plan whose job was checked; see :meth:`orchestrator.session.Session.experiment`."""
        started: list[RunHandle] = []

        def note_start(handle: RunHandle) -> None:
            started.append(handle)
            on_start(handle)

        try:
            record = self._steps(plan, job, note_start, multi=multi, on_line=on_line)
        except KeyboardInterrupt as interrupt:
            fetched = self._fetch_interrupted(started)
            # Unattended instances would be billed until their automatic shutdown.
            self._terminate_after_failure(plan, interrupt, fetched)
            raise
        except JobFailed as error:
            if not self._keep(plan, error):
                self._terminate_after_failure(plan, error)
            raise
        except Exception as error:
            self._terminate_after_failure(plan, error)
            raise
        with interrupts.ending_signals_wait():
            return record, self.cluster.terminate_launch(plan.launch_id)

    def _steps(
        self,
        plan: LaunchPlan,
        job: JobSource | None,
        on_start: Callable[[RunHandle], None],
        *,
        multi: bool,
        on_line: Callable[[str, str], None],
    ) -> RunRecord:
        """Run the job once, on what the plan launches; every host installs as soon as its own SSH is up."""
        loaded = self.jobs.load_job(job)
        report, installs = self.cluster.launch_and(plan, self.jobs.installer(loaded, plan.count))
        self.jobs.record_install(installs, {}, max((install.seconds for install in installs), default=0.0), loaded)
        if report.failed:
            raise HostsFailed(f"{len(report.failed)} of {plan.count} VMs failed", report.failed)
        handle = self.jobs.start(multi=multi, folder=job, names=[host.name for host in report.ready], follow=True)
        on_start(handle)
        self.jobs.follow(handle.run_id, on_line=on_line)
        return self.jobs.fetch(handle.run_id)

    def _fetch_interrupted(self, started: Sequence[RunHandle]) -> list[str]:
        """Cancel an interrupted run, fetch what it has written, and return the outcome; a second Ctrl-C skips it."""
        for handle in started:
            text = f"fetching what the run has written; {interrupts.skipping_signal()} skips it"
            try:
                with interrupts.ending_signals_skip():
                    self.on_event(Event("", "interrupted", "progress", text=text))
                    self.jobs.cancel(handle.run_id)
                    record = self.jobs.fetch(handle.run_id)
            except KeyboardInterrupt:
                return [f"Results of run {handle.short_id} were not fetched."]
            # Every error: the instances have to be terminated all the same.
            except Exception as error:
                return [f"Results of run {handle.short_id} were not fetched: {first_line(error)}"]
            missing = f", but not everything from {' '.join(record.failed)}" if record.failed else ""
            return [f"What the run had written is in {record.folder}/{missing}."]
        return []

    def _keep(self, plan: LaunchPlan, error: JobFailed) -> bool:
        """Keep the VMs of a failed job for a look, if the settings say so; False if they have to be terminated."""
        if not self.keep_failed_minutes:
            return False
        try:
            with interrupts.ending_signals_wait():
                kept_launch = self.cluster.keep_for(plan.launch_id, self.keep_failed_minutes)
        except StratusError as failure:
            # Without the timer they would stay up for longer than agreed.
            text = f"not kept: {first_line(failure)}"
            self.on_event(Event("", "keep", "warning", text=text))
            return False
        names = kept_launch.names
        price = "price unknown" if kept_launch.usd is None else f"${kept_launch.usd:.2f} at most"
        stay = f"{' '.join(names)} {'stays' if len(names) == 1 else 'stay'} up for {kept_launch.minutes} min, {price}: "
        look = NextStep("Ssh", names[0]) + " opens a terminal; " if names else ""
        add_advice(error, stay + look + NextStep("FetchResults") + " fetches; " + NextStep("TerminateAll") + " ends it")
        return True

    def _terminate_after_failure(self, plan: LaunchPlan, error: BaseException, fetched: Sequence[str] = ()) -> None:
        """Terminate the launch; add what remains to the error, which must not be replaced by a second one.

        :param fetched: lines on the results of an interrupted run.
        """
        names: tuple[str, ...] = ()
        billed: list[str] = []
        try:
            with interrupts.ending_signals_wait():
                report = self.cluster.terminate_launch(plan.launch_id)
            # What is kept on purpose is not ended by what the line says.
            resources = [item for item in report.managed.kept_resources if not (item.is_kept or item.origin)]
            billed = [f"{item.kind} {item.name}" for item in resources]
            remaining, names = report.remaining, tuple(result.name for result in report.instances)
        except StratusError as failure:
            remaining = tuple(failure.lines())
        if remaining:
            add_advice(error, "left: " + join("; ", remaining), *fetched)
        elif names and isinstance(error, KeyboardInterrupt):
            # What the interrupted step advised is past: it named these instances as up.
            replace_advice(error, f"{' '.join(names)} {'is' if len(names) == 1 else 'are'} terminated.", *fetched)
        if billed:
            add_advice(error, "Still billed: " + ", ".join(billed) + ". " + NextStep("TerminateAll") + " ends it.")
