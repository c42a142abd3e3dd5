"""Use cases on training jobs as runs: follow, list, cancel, fetch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path

from orchestrator.aws.managed import unwatched
from orchestrator.aws.managed.log import ManagedLog
from orchestrator.aws.sagemaker import artifacts, training
from orchestrator.aws.sagemaker.logs import TRAINING_GROUP, LogReader
from orchestrator.aws.sagemaker.training import Phase, TrainingJob
from orchestrator.aws.sagemaker.uses import Use
from orchestrator.cluster.context import ClusterContext
from orchestrator.core import cost
from orchestrator.core.clock import Backoff
from orchestrator.core.errors import CloudRefused, HostError, JobFailed, UsageError, first_line
from orchestrator.core.events import Event
from orchestrator.core.host import Host
from orchestrator.hosts.parallel import Outcome, Outcomes
from orchestrator.jobs import record, results
from orchestrator.jobs.managed import records
from orchestrator.jobs.managed.records import TrainingRecord
from orchestrator.jobs.managed.results import ArchiveUnpacker, LimitReached, write_log
from orchestrator.jobs.record import RunRecord
from orchestrator.jobs.results import Received
from orchestrator.jobs.runner import CancelReport
from orchestrator.jobs.runs import RUN_ID, Run, RunResult, RunSummary
from orchestrator.services.managed import training_states as states
from orchestrator.services.managed.training_output import TAIL_LINES, OnLine, Output, last_lines

POLL = Backoff(first_s=0.2, longest_s=3.0, growth=1.3)
STOP_TIMEOUT_S = 420.0
"""A container gets 120 s between SIGTERM and SIGKILL, then its results are uploaded."""

FOLLOW_TIMEOUT_S = 29 * 86400.0
LOG_LAG_S = 1.0
"""CloudWatch may show the last lines some time after the end."""

LISTED = 20
KIND = "training job"


@dataclass(frozen=True)
class Whole:
    """State and cost of a run of several training jobs, of which one is fetched."""

    state: str
    bill: cost.Bill


class TrainingRuns:
    """Runs that are training jobs; implements `jobs.managed.runs.ManagedRuns`.

    :param is_used: returns True if this computer, or the settings, use SageMaker.
    """

    def __init__(
        self, context: ClusterContext, log: ManagedLog, runs_folder: Path, is_used: Callable[[], bool]
    ) -> None:
        self.context = context
        self.clients = context.clients
        self.clock = context.clock
        self.log = log
        self.runs_folder = runs_folder
        self.is_used = is_used
        self._reported: dict[str, int] = {}

    # -- which runs

    def find(self, run_id: str) -> str:
        """Return the id of a training job's run; see `ManagedRuns.find`."""
        return records.find(self.runs_folder, run_id, lambda name: _is_training(self.runs_folder, name), self._names)

    def _names(self) -> list[str]:
        """Return the ids of the cluster's training jobs of the last four weeks; none if SageMaker is not used."""
        if not self.is_used():
            return []
        prefix = training.name_prefix(self.context.cluster_id.cluster)
        names = training.names(self.clients, prefix)
        ids = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        return [run_id for run_id in ids if RUN_ID.fullmatch(run_id)]

    def runs(self) -> list[RunSummary]:
        """Return the runs that are training jobs, oldest first."""
        known = [records.load(self.runs_folder, run_id) for run_id in records.run_ids(self.runs_folder)]
        local = {item.run_id: item for item in known if item is not None and not item.tuning}
        others = [run_id for run_id in self._names()[:LISTED] if run_id not in local]
        ids = sorted([*list(local)[-LISTED:], *others])
        calls = [partial(self._run_of, local.get(run_id) or self._unrecorded(run_id)) for run_id in ids]
        runs: list[Run | None] = self.clients.in_parallel(*calls) if calls else []
        return [run.summary for run in runs if run is not None]

    def _run_of(self, item: TrainingRecord) -> Run | None:
        job = training.find(self.clients, item.name)
        return None if job is None else states.as_run(item, job)

    def _unrecorded(self, run_id: str) -> TrainingRecord:
        return TrainingRecord(run_id, training.name_prefix(self.context.cluster_id.cluster) + run_id)

    def _locate(self, run_id: str) -> tuple[TrainingRecord, TrainingJob]:
        item = records.load(self.runs_folder, run_id) or self._unrecorded(run_id)
        job = training.find(self.clients, item.name)
        if job is None:
            raise UsageError(f"SageMaker has no training job {item.name}", where=self.clients.region)
        return item, job

    # -- follow

    def follow(self, run_id: str, *, on_line: OnLine, on_hosts: Callable[[Sequence[str]], None]) -> RunResult:
        """Pass on a run's output and its changes of status until it ends; see `ManagedRuns.follow`."""
        with self._billed_on(run_id):
            item, job = self._locate(run_id)
        hosts = states.hosts(item, job)
        on_hosts(states.main_hosts(item, job))
        tails: dict[str, list[str]] = {host: [] for host in hosts}

        def keep(host: str, line: str) -> None:
            tails.setdefault(host, []).append(line)
            del tails[host][:-TAIL_LINES]
            on_line(host, line)

        with self._billed_on(run_id):
            job = self._watch(item, keep)
        self._note_end(item, job)
        self._report_money(job)
        run = states.as_run(item, job)
        if run.state == "done":
            return RunResult(run_id, run.job, run.seconds or 0.0)
        self._fetch_after_failure(run_id)
        raise self._failure(run, job, tails)

    def _billed_on(self, run_id: str) -> AbstractContextManager[None]:
        item = records.load(self.runs_folder, run_id) or self._unrecorded(run_id)
        return unwatched.billed_on(f"the training job {item.name}", unwatched.run_fix(run_id))

    def _watch(self, item: TrainingRecord, on_line: OnLine) -> TrainingJob:
        """Pass on lines, and report each change of status, until the job has ended; return it then."""
        output = Output(LogReader(self.clients, TRAINING_GROUP, f"{item.name}/"), self._warn)
        # A run that is watched again after Ctrl-C continues with its news.
        shown = self._reported.pop(item.name, 0)
        try:
            while True:
                for _ in self.clock.attempts(FOLLOW_TIMEOUT_S, POLL):
                    job = self._described(item)
                    known, shown = shown, self._report(job, output, on_line, shown)
                    if job.has_ended:
                        self._read_rest(output, on_line)
                        return job
                    if output.has_news or shown > known:
                        break
        except KeyboardInterrupt:
            self._reported[item.name] = shown
            raise

    def _described(self, item: TrainingRecord) -> TrainingJob:
        job = training.find(self.clients, item.name)
        if job is None:
            raise UsageError(f"SageMaker has no training job {item.name} any more", where=self.clients.region)
        return job

    def _report(self, job: TrainingJob, output: Output, on_line: OnLine, shown: int) -> int:
        """Report new statuses and lines, and return the number of statuses; what follows training comes after it."""
        if job.secondary not in states.BEFORE_DOWNLOAD:
            trained = [number for number, phase in enumerate(job.phases, 1) if phase.status == "Training"]
            last = trained[-1] if trained else len(job.phases)
            self._report_phases(job.phases[shown:last])
            shown = max(shown, last)
            output.pass_on(on_line)
        self._report_phases(job.phases[shown:])
        return len(job.phases)

    def _read_rest(self, output: Output, on_line: OnLine) -> None:
        for _ in self.clock.attempts(LOG_LAG_S, POLL):
            output.pass_on(on_line)

    def _report_phases(self, phases: Iterable[Phase]) -> None:
        for phase in phases:
            self._tell(f"{phase.status}: {phase.message}" if phase.message else phase.status)

    def _report_money(self, job: TrainingJob) -> None:
        saved = states.saved_percent(job)
        if saved is not None:
            self._tell(f"spot instances: {job.billable_s} s of {job.training_s} s are billed, {saved:g}% saved")
        if job.warm_pool == "Available" and job.pool_ends_at:
            price = self._per_hour(job)
            rate = "" if price is None else f", for ${price:.3f}/h"
            self._tell(f"its instances are kept until {job.pool_ends_at:%H:%M} UTC for the next job{rate}")

    def _tell(self, text: str) -> None:
        self.context.on_event(Event("", "training", "progress", text=text))

    def _warn(self, text: str) -> None:
        self.context.on_event(Event("", "training", "warning", text=text))

    def _failure(self, run: Run, job: TrainingJob, tails: Mapping[str, Sequence[str]]) -> JobFailed:
        failed = states.failed_host(job, run.hosts)
        logs = self.runs_folder / run.run_id / "logs"
        # Of several hosts the one that failed first: the others end because of it.
        order = (failed, *run.main_hosts)
        lines = next((tails[host] for host in order if tails.get(host)), None) or last_lines(logs, order)
        return JobFailed(
            states.failure_message(job),
            exit_status=states.exit_status(job),
            where=f"{run.job} on {failed or 'SageMaker'}",
            tail=lines,
            fix=f"logs: {logs}" if logs.is_dir() else "",
            run_id=run.run_id,
            state=run.state,
        )

    def _note_end(self, item: TrainingRecord, job: TrainingJob) -> None:
        folder = self.runs_folder / item.run_id
        record.note_end(folder, job.ended_at or self.clock.now())
        # A warm pool is billed after the end of the job: it stays in the journal until it is gone.
        if job.has_ended and not job.warm_pool:
            self.log.record_ended_name(item.name)

    def _fetch_after_failure(self, run_id: str) -> None:
        """Fetch a failed run; errors are only reported, as the run's own is raised afterwards."""
        try:
            self.fetch(run_id)
        except Exception as error:
            self.context.on_event(Event("", "fetch", "warning", text=first_line(error)))

    def logs(self, run_id: str, *, host: str, follow: bool) -> Iterator[tuple[str, str]]:
        """Yield (host, line) of a run's output; see `ManagedRuns.logs`."""
        item, job = self._locate(run_id)
        if host and host not in states.hosts(item, job):
            raise UsageError(f"{run_id} did not run on {host}", fix=f"its hosts: {', '.join(states.hosts(item, job))}")
        reader = LogReader(self.clients, TRAINING_GROUP, f"{item.name}/")
        for _ in self.clock.attempts(FOLLOW_TIMEOUT_S if follow else 0.0, POLL):
            has_ended = job.has_ended
            yield from ((name, line) for name, line in reader.read() if host in ("", name))
            if has_ended:
                return
            job = self._locate(run_id)[1]

    # -- cancel

    def cancel(self, run_id: str) -> CancelReport:
        """Stop a training job, and wait until it has ended."""
        with self._billed_on(run_id):
            item, job = self._locate_or_stop(run_id)
            hosts, shown = states.hosts(item, job), len(job.phases)
            if job.has_ended:
                return CancelReport(run_id, dict.fromkeys(hosts, 0), {}, states.state(job), kind=KIND)
            training.stop(self.clients, item.name)
            for _ in self.clock.attempts(STOP_TIMEOUT_S, POLL):
                job = self._described(item)
                self._report_phases(job.phases[shown:])
                shown = len(job.phases)
                if job.has_ended:
                    self._note_end(item, job)
                    return CancelReport(run_id, dict.fromkeys(hosts, 0), {}, kind=KIND)
        error = HostError(f"still {job.secondary or job.status} after {STOP_TIMEOUT_S:.0f} s", where=item.name)
        return CancelReport(run_id, {}, {item.name: error}, kind=KIND)

    def _locate_or_stop(self, run_id: str) -> tuple[TrainingRecord, TrainingJob]:
        """Return a run's job; one of this computer that may not be seen is stopped all the same."""
        try:
            return self._locate(run_id)
        except CloudRefused:
            if item := records.load(self.runs_folder, run_id):
                training.stop(self.clients, item.name)
                self._warn(f"the end of {item.name} was requested")
            raise

    # -- fetch

    def fetch(self, run_id: str, whole: Whole | None = None) -> RunRecord:
        """Fetch model, outputs and logs of a training job; complete its record.

        :param whole: the run that it is a part of; None: it is the run.
        """
        item, job = self._locate(run_id)
        started = self.clock.monotonic()
        folder = self.runs_folder / run_id
        folder.mkdir(parents=True, exist_ok=True)
        received = self._receive(item, job, folder)
        self._note_facts(item, job, folder)
        run = states.as_run(item, job)
        completed = record.complete_record(
            folder,
            run,
            received,
            whole.bill if whole else self.bill(job),
            seconds=self.clock.monotonic() - started,
            fetched_at=self.clock.now(),
            state=whole.state if whole else "",
        )
        if job.has_ended:
            self._note_end(item, job)
        return completed

    def _receive(self, item: TrainingRecord, job: TrainingJob, folder: Path) -> Outcomes[Received]:
        options = self.context.settings.job
        budget = results.fetch_budget(self.runs_folder, options.max_fetch_gib, options.max_fetch_files)
        unpacker = ArchiveUnpacker(folder, states.hosts(item, job), states.main_hosts(item, job), budget)
        error: Exception | None = None
        try:
            self._unpack(unpacker, job)
        # Logs are worth writing all the same, and what was unpacked before is kept.
        except (HostError, LimitReached) as problem:
            error = problem
        self._write_logs(item, job, folder)
        first = Host(unpacker.hosts[0], "", "", 0, "", Path(), "", job.name)
        return Outcomes([Outcome(first, None if error else unpacker.received, error, 0.0)])

    def _unpack(self, unpacker: ArchiveUnpacker, job: TrainingJob) -> None:
        base = f"{job.output_url.rstrip('/')}/{job.name}/output"
        parts = (
            (job.model_url or f"{base}/model.tar.gz", unpacker.model),
            (f"{base}/output.tar.gz", unpacker.output),
        )
        for url, unpack in parts:
            chunks = artifacts.chunks(self.clients, url)
            if chunks is not None:
                unpack(chunks)

    def _write_logs(self, item: TrainingRecord, job: TrainingJob, folder: Path) -> None:
        """Write what CloudWatch has of the logs that no archive brought: of jobs that run, or were killed."""
        missing = [host for host in states.main_hosts(item, job) if not (folder / f"logs/{host}.main.log").exists()]
        if not missing:
            return
        lines: dict[str, list[str]] = {host: [] for host in missing}
        for host, line in LogReader(self.clients, TRAINING_GROUP, f"{item.name}/").read():
            if host in lines:
                lines[host].append(line)
        for host, listed in lines.items():
            if listed:
                write_log(folder, host, listed)

    def _note_facts(self, item: TrainingRecord, job: TrainingJob, folder: Path) -> None:
        records.note(
            folder,
            name=item.name,
            status=job.status,
            secondary_statuses=[phase.status for phase in job.phases],
            reason=job.reason,
            billable_seconds=job.billable_s,
            training_seconds=job.training_s,
            saved_percent=states.saved_percent(job),
            metrics=dict(job.metrics),
            hyperparameters=dict(job.hyperparameters),
            model=job.model_url,
        )
        records.note_timings(folder, states.timings(job))

    def bill(self, job: TrainingJob) -> cost.Bill:
        """Return the cost of a training job so far."""
        is_billed = job.billable_s is not None or job.started_at
        elapsed_s = states.elapsed_s(job, self.clock.now()) if job.billable_s is None else job.billable_s
        seconds, usd = (elapsed_s, cost.cost_for(self._per_hour(job), elapsed_s)) if is_billed else (0.0, Decimal(0))
        spot = "yes" if job.is_spot else "no"
        # The disks of training instances have a price of their own, which is small and not in the price list.
        return cost.Bill(seconds * job.count, usd, Decimal(0), spot, unit="instance", count=job.count)

    def _per_hour(self, job: TrainingJob) -> Decimal | None:
        price = self.context.managed_prices.per_hour(job.instance_type, Use.TRAINING)
        return price.usd * job.count if price else None


def _is_training(runs_folder: Path, run_id: str) -> bool:
    item = records.load(runs_folder, run_id)
    return item is not None and not item.tuning
