"""Use cases on tuning jobs as runs: watch, list, cancel, keep the best training job and fetch it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Protocol

from orchestrator.aws.managed import unwatched
from orchestrator.aws.managed.log import ManagedLog
from orchestrator.aws.sagemaker import training, tuning
from orchestrator.aws.sagemaker.logs import TRAINING_GROUP, LogReader
from orchestrator.aws.sagemaker.tuning import TuningChild, TuningJob
from orchestrator.cluster.context import ClusterContext
from orchestrator.core import cost
from orchestrator.core.clock import Backoff
from orchestrator.core.errors import CloudRefused, HostError, JobFailed, StratusError, UsageError
from orchestrator.core.events import Event
from orchestrator.core.next_step import NextStep
from orchestrator.jobs import record
from orchestrator.jobs.managed import records
from orchestrator.jobs.managed.records import TUNING_KEY, TuningRecord
from orchestrator.jobs.record import RunRecord
from orchestrator.jobs.runner import CancelReport
from orchestrator.jobs.runs import RunResult, RunSummary
from orchestrator.services.managed import training_states as states
from orchestrator.services.managed.training_runs import LISTED, STOP_TIMEOUT_S, TrainingRuns, Whole

POLL = Backoff(first_s=0.2, longest_s=5.0, growth=1.3)
WATCH_TIMEOUT_S = 29 * 86400.0
"""A tuning job runs for 28 days at most, as AWS's quotas of tuning have it."""

FEWEST_FAILED = 2
"""Failed training jobs, and no other one, after which a tuning job is stopped; more if more are started at once."""

KIND = "tuning job"
_STATES = {"Completed": "done", "Failed": "failed", "Stopped": "cancelled"}


@dataclass(frozen=True)
class TuningTrial:
    """One training job of a tuning job, and what it cost.

    :param value: of the objective; None without one.
    :param usd: None if the price is unknown.
    :param reason: of a failure, in a line.
    :param is_best: True for the best of all.
    :param bill: parts of ``usd``; None if SageMaker does not know the training job any more.
    """

    name: str
    state: str
    value: float | None
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    usd: Decimal | None = None
    reason: str = ""
    is_best: bool = False
    bill: cost.Bill | None = None


@dataclass(frozen=True)
class TuningOutcome:
    """A tuning job and its training jobs.

    :param state: as SageMaker names it: InProgress, Completed, Failed, Stopping, Stopped.
    :param run_id: under which the best run is kept.
    :param has_best: False if no training job has the objective.
    """

    name: str
    state: str
    trials: tuple[TuningTrial, ...]
    reason: str = ""
    run_id: str = ""
    has_best: bool = False

    @property
    def usd(self) -> Decimal | None:
        """USD of all training jobs; None if one is unknown."""
        return cost.total(trial.usd for trial in self.trials)

    @property
    def bill(self) -> cost.Bill:
        """Cost of all training jobs."""
        bills = [trial.bill for trial in self.trials if trial.bill]
        spot = "yes" if any(bill.spot == "yes" for bill in bills) else "no"
        seconds = sum(bill.billed_seconds for bill in bills)
        return cost.Bill(seconds, self.usd, Decimal(0), spot, unit="job", count=len(self.trials))


class UsedService(Protocol):
    """A service that this computer, or the settings, may not use at all."""

    @property
    def is_used(self) -> bool:
        """True if it is asked."""
        ...


def create(context: ClusterContext, log: ManagedLog, runs_folder: Path, sagemaker: UsedService) -> TuningRuns:
    """Return the tuning jobs of a session, with its training jobs."""
    return TuningRuns(context, log, runs_folder, TrainingRuns(context, log, runs_folder, lambda: sagemaker.is_used))


class TuningRuns:
    """Runs that are tuning jobs; implements `jobs.managed.runs.ManagedRuns`.

    :param best: runs that are training jobs: the best one of a tuning job is fetched as one.
    """

    def __init__(self, context: ClusterContext, log: ManagedLog, runs_folder: Path, best: TrainingRuns) -> None:
        self.context = context
        self.clients = context.clients
        self.clock = context.clock
        self.log = log
        self.runs_folder = runs_folder
        self.best = best

    def find(self, run_id: str) -> str:
        """Return the id of a tuning job's run; see `ManagedRuns.find`."""
        return records.find(
            self.runs_folder,
            run_id,
            lambda name: records.load_tuning(self.runs_folder, name) is not None,
            lambda: list(self._listed()),
        )

    def _listed(self) -> dict[str, str]:
        """Return run id -> name of the cluster's tuning jobs; none if SageMaker is not used."""
        listed = tuning.names(self.clients, self.context.cluster_id) if self.best.is_used() else []
        return {run_id: name for name in listed if (run_id := tuning.run_id_of(name))}

    def _locate(self, run_id: str) -> tuple[TuningRecord, TuningJob]:
        name = tuning.job_name(self.context.cluster_id, run_id)
        item = records.load_tuning(self.runs_folder, run_id) or TuningRecord(run_id, name)
        job = tuning.find(self.clients, item.name)
        if job is None:
            raise UsageError(f"SageMaker has no tuning job {item.name}", where=self.clients.region)
        return item, job

    def runs(self) -> list[RunSummary]:
        """Return the runs that are tuning jobs, oldest first."""
        recorded = [records.load_tuning(self.runs_folder, run_id) for run_id in records.run_ids(self.runs_folder)]
        local = {item.run_id: item for item in recorded if item is not None}
        others = {run_id: TuningRecord(run_id, name) for run_id, name in self._listed().items() if run_id not in local}
        items = sorted([*list(local.values())[-LISTED:], *list(others.values())[:LISTED]], key=lambda item: item.run_id)
        calls = [partial(self._summary, item) for item in items]
        summaries: list[RunSummary | None] = self.clients.in_parallel(*calls) if calls else []
        return [summary for summary in summaries if summary is not None]

    def _summary(self, item: TuningRecord) -> RunSummary | None:
        job = tuning.find(self.clients, item.name)
        if job is None:
            return None
        seconds = (job.ended_at - job.created_at).total_seconds() if job.ended_at and job.created_at else None
        hosts = (f"tuning: {job.jobs} jobs" if job.jobs else "tuning",)
        return RunSummary(item.run_id, item.job or item.name, False, hosts, _state(item, job), job.created_at, seconds)

    # -- watch

    def watch(self, run_id: str, on_end: Callable[[TuningTrial], None]) -> TuningOutcome:
        """Wait until a tuning job ends; the best training job gets a record, with which it can be fetched.

        :param on_end: called with each training job that has ended, once.
        :raises StratusError: SageMaker does not answer.
        """
        with self._billed_on(run_id):
            return self._watch(run_id, on_end)

    def _billed_on(self, run_id: str) -> AbstractContextManager[None]:
        name = tuning.job_name(self.context.cluster_id, run_id)
        return unwatched.billed_on(f"the tuning job {name}", unwatched.run_fix(run_id))

    def _watch(self, run_id: str, on_end: Callable[[TuningTrial], None]) -> TuningOutcome:
        ended: dict[str, TuningTrial] = {}
        for _ in self.clock.attempts(WATCH_TIMEOUT_S, POLL):
            item, job = self._locate(run_id)
            for child in tuning.children(self.clients, item.name):
                if child.has_ended and child.name not in ended:
                    ended[child.name] = self._trial(child)
                    on_end(ended[child.name])
            if job.has_ended:
                return self._outcome(item, job, list(ended.values()))
            self._give_up_if_hopeless(item, job, [*ended.values()])
        raise StratusError(f"{run_id} has not ended in {WATCH_TIMEOUT_S / 86400:g} days")

    def _give_up_if_hopeless(self, item: TuningRecord, job: TuningJob, trials: Sequence[TuningTrial]) -> None:
        """Stop a tuning job whose first training jobs have all failed: the others would cost money and fail as well."""
        if item.gave_up or job.status != "InProgress" or len(trials) < max(job.parallel, FEWEST_FAILED):
            return
        if any(trial.state != "Failed" for trial in trials):
            return
        reason = f"its first {len(trials)} training jobs failed: {trials[0].reason or 'see their lines'}"
        records.note(self.runs_folder / item.run_id, key=TUNING_KEY, name=item.name, gave_up=reason)
        self._warn(f"{item.name} is stopped: {reason}")
        tuning.stop(self.clients, item.name)

    def _trial(self, child: TuningChild) -> TuningTrial:
        job = training.find(self.clients, child.name)
        bill = self.best.bill(job) if job else None
        seconds, usd = job.billable_s if job else None, bill.total if bill else None
        reason = states.last_line(child.reason or (job.reason if job else ""))
        return TuningTrial(
            child.name, child.status, child.value, child.hyperparameters, seconds, usd, reason, bill=bill
        )

    def _trials(self, item: TuningRecord) -> list[TuningTrial]:
        calls = [partial(self._trial, child) for child in tuning.children(self.clients, item.name)]
        return self.clients.in_parallel(*calls) if calls else []

    def _outcome(self, item: TuningRecord, job: TuningJob, trials: list[TuningTrial]) -> TuningOutcome:
        """Return the outcome of a tuning job, and record it; of one that has ended the journal is told."""
        marked = tuple(replace(trial, is_best=trial.name == job.best) for trial in trials)
        state, reason = ("Failed", item.gave_up) if item.gave_up and job.has_ended else (job.status, job.reason)
        outcome = TuningOutcome(job.name, state, marked, reason, item.run_id, bool(job.best))
        if job.has_ended:
            self.log.record_ended_name(item.name)
        self._record(item, job, outcome)
        return outcome

    def _record(self, item: TuningRecord, job: TuningJob, outcome: TuningOutcome) -> None:
        folder = self.runs_folder / item.run_id
        folder.mkdir(parents=True, exist_ok=True)
        trials = [
            {"name": trial.name, "state": trial.state, "value": trial.value, **trial.hyperparameters}
            for trial in outcome.trials
        ]
        records.note(folder, key=TUNING_KEY, name=item.name, status=job.status, best=job.best, trials=trials)
        records.note(folder, key=TUNING_KEY, usd=cost.decimals(outcome.usd), reason=outcome.reason)
        records.note_outcome(folder, _state(item, job), cost.decimals(outcome.usd))
        if job.best:
            records.note(folder, name=job.best)
        if job.has_ended:
            record.note_end(folder, job.ended_at or self.clock.now())

    # -- as any run

    def follow(
        self, run_id: str, *, on_line: Callable[[str, str], None], on_hosts: Callable[[Sequence[str]], None]
    ) -> RunResult:
        """Pass on the lines of a tuning job's training jobs until it ends; see `ManagedRuns.follow`."""
        item, job = self._locate(run_id)
        on_hosts([])
        for source, line in self.logs(run_id, host="", follow=True):
            on_line(source, line)
        outcome = self.watch(run_id, lambda _: None)
        if outcome.state != "Completed":
            raise JobFailed(outcome.reason or outcome.state, exit_status=None, where=item.name, run_id=run_id)
        return RunResult(run_id, item.job or job.name, sum(trial.seconds or 0.0 for trial in outcome.trials))

    def cancel(self, run_id: str) -> CancelReport:
        """Stop a tuning job and its training jobs, and wait until they have ended."""
        with self._billed_on(run_id):
            item, job = self._locate_or_stop(run_id)
            if job.has_ended:
                return CancelReport(run_id, {}, {}, _state(item, job), kind=KIND)
            tuning.stop(self.clients, item.name)
            for _ in self.clock.attempts(STOP_TIMEOUT_S, POLL):
                item, job = self._locate(run_id)
                if job.has_ended:
                    outcome = self._outcome(item, job, self._trials(item))
                    names = [trial.name.removeprefix(f"{item.name}-") for trial in outcome.trials]
                    return CancelReport(run_id, dict.fromkeys(names, 0), {}, kind=KIND)
        error = HostError(f"has not ended after {STOP_TIMEOUT_S:.0f} s", where=item.name)
        return CancelReport(run_id, {}, {item.name: error}, kind=KIND)

    def _locate_or_stop(self, run_id: str) -> tuple[TuningRecord, TuningJob]:
        """Return a run's job; one of this computer that may not be seen is stopped all the same."""
        try:
            return self._locate(run_id)
        except CloudRefused:
            if item := records.load_tuning(self.runs_folder, run_id):
                tuning.stop(self.clients, item.name)
                self._warn(f"the end of {item.name} was requested")
            raise

    def _warn(self, text: str) -> None:
        self.context.on_event(Event("", "training", "warning", text=text))

    def fetch(self, run_id: str) -> RunRecord:
        """Fetch the best training job so far."""
        item, job = self._locate(run_id)
        if not job.best:
            fix = NextStep("Logs", run_id) + "  shows the lines of its training jobs"
            raise UsageError("no training job has completed with the objective", where=item.name, fix=fix)
        outcome = self._outcome(item, job, self._trials(item))
        return self.best.fetch(run_id, Whole(_state(item, job), outcome.bill))

    def _check_trial(self, item: TuningRecord, host: str) -> None:
        children = tuning.children(self.clients, item.name)
        numbers = [child.name.removeprefix(f"{item.name}-").partition("-")[0] for child in children]
        if host.partition("/")[0] not in numbers:
            fix = f"its training jobs: {', '.join(numbers) or 'none yet'}"
            raise UsageError(f"{item.run_id} has no training job {host}", fix=fix)

    def logs(self, run_id: str, *, host: str, follow: bool) -> Iterator[tuple[str, str]]:
        """Yield (training job, line): its number, and its container if it has several; see `ManagedRuns.logs`."""
        item, job = self._locate(run_id)
        if host.partition("/")[0].isdecimal():
            # 1 is job 001.
            number, separator, container = host.partition("/")
            host = f"{int(number):03d}{separator}{container}"
        if host and not follow:
            self._check_trial(item, host)
        reader = LogReader(self.clients, TRAINING_GROUP, f"{item.name}-")
        for _ in self.clock.attempts(WATCH_TIMEOUT_S if follow else 0.0, POLL):
            has_ended = job.has_ended
            for stream, line in reader.read():
                name, _, container = stream.partition("/")
                number = name.partition("-")[0]
                source = number if container == "algo-1" else f"{number}/{container}"
                if host in ("", number, source):
                    yield source, line
            if has_ended:
                return
            job = self._locate(run_id)[1]


def _state(item: TuningRecord, job: TuningJob) -> str:
    if item.gave_up and job.has_ended:
        return "failed"
    return _STATES.get(job.status, "running")
