"""Use cases on tuning jobs: plan and start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Protocol, TypeVar

from orchestrator.aws.managed.log import ManagedLog
from orchestrator.aws.sagemaker import quotas, requests, roles, tuning, tuning_request
from orchestrator.aws.sagemaker.training_request import TrainingRequest
from orchestrator.aws.sagemaker.tuning_request import Again, TuningRange, TuningRequest, example
from orchestrator.aws.sagemaker.uses import Use
from orchestrator.cluster.context import ClusterContext
from orchestrator.core import cost
from orchestrator.jobs import record
from orchestrator.jobs.build import JobPlan
from orchestrator.jobs.managed import records
from orchestrator.jobs.managed.records import TUNING_KEY


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
    def own_hyperparameters(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def max_cost_usd(self) -> Decimal | None: ...  # noqa: D102


D = TypeVar("D", bound=Definition)


@dataclass(frozen=True)
class TuningChoices:
    """Choices for one tuning job.

    :param ranges: as :func:`orchestrator.aws.sagemaker.tuning_request.read_ranges` reads them.
    :param objective: ``minimize loss``.
    :param jobs: number of training jobs; 0 for all combinations of a grid, None for as many as usual.
    :param parallel: of them at the same time; None for as many as usual.
    :param again: returns the verb as it was typed, with other arguments.
    """

    ranges: str | Mapping[str, object]
    objective: str
    jobs: int | None = None
    parallel: int | None = None
    strategy: str = "Bayesian"
    again: Again = example


@dataclass(frozen=True)
class TuningPlan:
    """A tuning job before it is created.

    :param max_cost_usd: of all its training jobs until their limits of time; None if the price is unknown.
    """

    definition: Definition
    request: TuningRequest
    max_cost_usd: Decimal | None


def planned_values(ranges: str | Mapping[str, object], again: Again = example) -> dict[str, str]:
    """Return a value of each hyper-parameter that is tuned; the training job is planned with them.

    :param again: returns the verb as it was typed, with other arguments.
    :raises UsageError: one is no range.
    """
    return tuning_request.first_values(tuning_request.read_ranges(ranges, again))


def _like_own(item: TuningRange, own: Mapping[str, str]) -> TuningRange:
    """Return a range of decimals if the job's own value is one: 1:5 for 2.0 is not of whole numbers."""
    return replace(item, is_decimal=tuning_request.is_decimal(own.get(item.name, "")))


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
        again = choices.again
        goal, metric = tuning_request.read_objective(choices.objective, again)
        name = tuning.job_name(self.context.cluster_id, definition.run_id)
        training_job = definition.request
        own = definition.own_hyperparameters
        ranges = [_like_own(item, own) for item in tuning_request.read_ranges(choices.ranges, again)]
        jobs = (0 if choices.strategy == "Grid" else tuning_request.JOBS) if choices.jobs is None else choices.jobs
        request = TuningRequest(name, training_job, ranges, metric, goal, jobs, 0, choices.strategy)
        usual = min(tuning_request.PARALLEL, request.count)
        request = replace(request, parallel=usual if choices.parallel is None else choices.parallel)
        request.check(again)
        requests.check(self.clients, "CreateHyperParameterTuningJob", request.as_dict())
        tuning_request.check_names(ranges, own, again)
        count = training_job.count * request.parallel
        quota = quotas.query(
            self.clients, training_job.instance_type, count, Use.TRAINING, spot=bool(training_job.max_wait_s)
        )
        quota.check(self.clients.region)
        usd = definition.max_cost_usd
        return TuningPlan(definition, request, None if usd is None else usd * request.count)

    def start(self, plan: TuningPlan) -> str:
        """Upload code and data, create the tuning job, and return the run's id; it runs without this computer.

        :raises StratusError: SageMaker refused; nothing is billed then.
        """
        self._upload(plan.definition)  # type: ignore[arg-type]
        name, request = plan.request.name, plan.request.as_dict()
        entry = self.log.record_intent("tuning", name, run=plan.definition.run_id)
        self.log.create(
            entry,
            lambda: roles.when_assumable(self.context.clock, lambda: tuning.create(self.clients, request)),
            lambda: job.arn if (job := tuning.find(self.clients, name)) else "",
        )
        self._record(plan)
        return plan.definition.run_id

    def _record(self, plan: TuningPlan) -> None:
        definition, request = plan.definition, plan.request
        folder = self.runs_folder / definition.run_id
        record.start_record(folder, definition.layout, self.context.settings, {}, self.context.clock.now(), {})
        records.note(
            folder,
            key=TUNING_KEY,
            name=request.name,
            strategy=request.strategy,
            objective=f"{request.goal.lower()} {request.metric}",
            jobs=request.count,
            parallel=request.parallel,
            instance_type=request.training.instance_type,
            count=request.training.count,
            image=request.training.image,
            spot=bool(request.training.max_wait_s),
            usd_per_hour=cost.decimals(definition.usd_per_hour),
        )
