"""Use cases on tuning jobs: plan, start, watch, stop, and keep the best run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Protocol, TypeVar

from orchestrator.aws.managed.log import ManagedLog
from orchestrator.aws.sagemaker import quotas, requests, roles, training, tuning, tuning_request
from orchestrator.aws.sagemaker.training_request import TrainingRequest
from orchestrator.aws.sagemaker.tuning import TuningChild
from orchestrator.aws.sagemaker.tuning_request import TuningRequest
from orchestrator.aws.sagemaker.uses import Use
from orchestrator.cluster.context import ClusterContext
from orchestrator.core import cost
from orchestrator.core.clock import Backoff
from orchestrator.core.errors import StratusError, UsageError
from orchestrator.jobs import record
from orchestrator.jobs.build import JobPlan
from orchestrator.jobs.managed import records

POLL = Backoff(first_s=0.2, longest_s=5.0, growth=1.3)
WATCH_TIMEOUT_S = 29 * 86400.0
"""A tuning job runs for 28 days at most, as AWS's quotas of tuning have it."""


class Definition(Protocol):
    """A training job that is planned, of which a tuning job starts variants."""

    @property
    def run_id(self) -> str: ...  # noqa: D102
    @property
    def request(self) -> TrainingRequest: ...  # noqa: D102
    @property
    def layout(self) -> JobPlan: ...  # noqa: D102
    @property
    def usd_per_hour(self) -> Decimal | None: ...  # noqa: D102
    @property
    def price_source(self) -> str: ...  # noqa: D102
    @property
    def max_cost_usd(self) -> Decimal | None: ...  # noqa: D102


D = TypeVar("D", bound=Definition)


@dataclass(frozen=True)
class TuningChoices:
    """Choices for one tuning job.

    :param ranges: as :func:`orchestrator.aws.sagemaker.tuning_request.read_ranges` reads them.
    :param objective: ``minimize loss``.
    :param jobs: number of training jobs; 0 for all combinations of a grid.
    """

    ranges: str | Mapping[str, object]
    objective: str
    jobs: int
    parallel: int
    strategy: str = "Bayesian"


@dataclass(frozen=True)
class TuningPlan:
    """A tuning job before it is created.

    :param max_cost_usd: of all its training jobs until their limits of time; None if the price is unknown.
    """

    definition: Definition
    request: TuningRequest
    max_cost_usd: Decimal | None


@dataclass(frozen=True)
class TuningTrial:
    """One training job of a tuning job, and what it cost.

    :param value: of the objective; None without one.
    :param usd: None if the price, or the billed time, is unknown.
    :param is_best: True for the best of all.
    """

    name: str
    state: str
    value: float | None
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    usd: Decimal | None = None
    reason: str = ""
    is_best: bool = False


@dataclass(frozen=True)
class TuningOutcome:
    """A tuning job and its training jobs.

    :param state: as SageMaker names it: InProgress, Completed, Failed, Stopping, Stopped.
    :param run_id: under which the best run is kept; empty without one.
    """

    name: str
    state: str
    trials: tuple[TuningTrial, ...]
    reason: str = ""
    run_id: str = ""

    @property
    def usd(self) -> Decimal | None:
        """USD of all training jobs; None if one is unknown."""
        return cost.total(trial.usd for trial in self.trials)


def planned_values(ranges: str | Mapping[str, object]) -> dict[str, str]:
    """Return a value of each hyper-parameter that is tuned; the training job is planned with them.

    :raises UsageError: one is no range.
    """
    return tuning_request.first_values(tuning_request.read_ranges(ranges))


class TuningService:
    """Tuning jobs of one cluster's name and owner.

    :param upload: uploads what the training jobs need.
    """

    def __init__(
        self, context: ClusterContext, log: ManagedLog, runs_folder: Path, upload: Callable[[D], None]
    ) -> None:
        self.context = context
        self.clients = context.clients
        self.log = log
        self.runs_folder = runs_folder
        self._upload = upload

    def plan(self, definition: Definition, choices: TuningChoices) -> TuningPlan:
        """Check a tuning job, and return it with its price; nothing is changed.

        :raises UsageError: a rule of SageMaker is broken.
        :raises CloudRefused: the quota is smaller than what runs at the same time.
        """
        goal, metric = tuning_request.read_objective(choices.objective)
        name = tuning.job_name(self.context.cluster_id, self.context.clock.now(), definition.run_id)
        training_job = definition.request
        ranges = tuning_request.read_ranges(choices.ranges)
        request = TuningRequest(
            name, training_job, ranges, metric, goal, choices.jobs, choices.parallel, choices.strategy
        )
        request.check()
        requests.check(self.clients, "CreateHyperParameterTuningJob", request.as_dict())
        count = training_job.count * choices.parallel
        quota = quotas.query(
            self.clients, training_job.instance_type, count, Use.TRAINING, spot=bool(training_job.max_wait_s)
        )
        quota.check(self.clients.region)
        usd = definition.max_cost_usd
        return TuningPlan(definition, request, None if usd is None else usd * request.count)

    def start(self, plan: TuningPlan) -> str:
        """Upload code and data, create the tuning job, and return its name; it runs without this computer.

        :raises StratusError: SageMaker refused; nothing is billed then.
        """
        self._upload(plan.definition)  # type: ignore[arg-type]
        name, request = plan.request.name, plan.request.as_dict()
        entry = self.log.record_intent("tuning", name)
        self.log.create(
            entry,
            lambda: roles.when_assumable(self.context.clock, lambda: tuning.create(self.clients, request)),
            lambda: job.arn if (job := tuning.find(self.clients, name)) else "",
        )
        return name

    def watch(self, plan: TuningPlan, on_end: Callable[[TuningTrial], None]) -> TuningOutcome:
        """Wait until a tuning job ends; the best run gets a record, with which it can be fetched.

        :param on_end: called with each training job that has ended, once.
        :raises StratusError: SageMaker does not answer.
        """
        name = plan.request.name
        told: dict[str, TuningTrial] = {}
        for _ in self.context.clock.attempts(WATCH_TIMEOUT_S, POLL):
            job = tuning.find(self.clients, name)
            if job is None:
                raise UsageError(f"SageMaker has no tuning job {name} any more", where=self.clients.region)
            for child in tuning.children(self.clients, name):
                if child.has_ended and child.name not in told:
                    told[child.name] = self._trial(plan, child)
                    on_end(told[child.name])
            if job.has_ended:
                self.log.record_ended_name(name)
                return self._outcome(plan, job, list(told.values()))
        raise StratusError(f"{name} has not ended in {WATCH_TIMEOUT_S / 86400:g} days")

    def stop(self, plan: TuningPlan) -> None:
        """Request the end of a tuning job and of its training jobs."""
        tuning.stop(self.clients, plan.request.name)

    def _trial(self, plan: TuningPlan, child: TuningChild) -> TuningTrial:
        job = training.find(self.clients, child.name)
        billed_s = job.billable_s if job else None
        usd = None if billed_s is None else cost.cost_for(plan.definition.usd_per_hour, billed_s)
        return TuningTrial(child.name, child.status, child.value, child.hyperparameters, billed_s, usd, child.reason)

    def _outcome(self, plan: TuningPlan, job: tuning.TuningJob, trials: list[TuningTrial]) -> TuningOutcome:
        marked = tuple(replace(trial, is_best=trial.name == job.best) for trial in trials)
        run_id = self._record_best(plan, job.best) if job.best else ""
        return TuningOutcome(job.name, job.status, marked, job.reason, run_id)

    def _record_best(self, plan: TuningPlan, name: str) -> str:
        definition = plan.definition
        folder, now = self.runs_folder / definition.run_id, self.context.clock.now()
        record.start_record(folder, definition.layout, self.context.settings, {}, now, {})
        request = definition.request
        records.note(
            folder,
            name=name,
            instance_type=request.instance_type,
            count=request.count,
            image=request.image,
            spot=bool(request.max_wait_s),
            usd_per_hour=cost.decimals(definition.usd_per_hour),
            output=request.output_url,
            tuning=plan.request.name,
        )
        return definition.run_id
