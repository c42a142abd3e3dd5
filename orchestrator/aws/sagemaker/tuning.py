"""Tuning jobs: created, described with their training jobs, listed and stopped."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orchestrator.aws import errors
from orchestrator.aws.managed.resources import ManagedResource
from orchestrator.aws.sagemaker import ownership, training
from orchestrator.aws.sagemaker.ownership import TagMemo
from orchestrator.core.errors import CloudRefused

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients
    from orchestrator.aws.identity import ClusterId

ENDED = ("Completed", "Failed", "Stopped", "DeleteFailed")
_RUN = re.compile(r"-(\d{6})(\d{6})([a-z0-9]{3})$")


@dataclass(frozen=True)
class TuningChild:
    """A training job of a tuning job.

    :param status: as of a training job.
    :param value: of the objective; None before there is one.
    :param hyperparameters: those that were chosen for it.
    :param reason: of a failure; empty without one.
    """

    name: str
    status: str
    value: float | None = None
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    @property
    def has_ended(self) -> bool:
        """True if its status changes no more."""
        return self.status in training.ENDED


@dataclass(frozen=True)
class TuningJob:
    """A tuning job as SageMaker describes it.

    :param best: name of its best training job; empty before there is one.
    :param created_at: None if SageMaker did not tell.
    :param jobs: number of training jobs, at most; 0 if it has no such limit.
    :param parallel: of them at the same time.
    """

    name: str
    arn: str
    status: str
    best: str = ""
    reason: str = ""
    created_at: datetime | None = None
    ended_at: datetime | None = None
    jobs: int = 0
    parallel: int = 1

    @property
    def has_ended(self) -> bool:
        """True if its status changes no more."""
        return self.status in ENDED


def job_name(own: ClusterId, run_id: str) -> str:
    """Return the name of a run's tuning job, which has 32 characters at most, and tells the run's id.

    :param run_id: ``20261122-160142-3f9``.
    """
    return training.short_name_prefix(own.cluster) + run_id[2:].replace("-", "")


def run_id_of(name: str) -> str:
    """Return the id of a tuning job's run; empty if the name has none."""
    match = _RUN.search(name)
    return f"20{match[1]}-{match[2]}-{match[3]}" if match else ""


def create(clients: Clients, request: Mapping[str, Any]) -> str:
    """Create a tuning job and return its ARN.

    :raises StratusError: SageMaker refused, or does not answer.
    """
    with clients.translate_errors(f"creating the tuning job {request['HyperParameterTuningJobName']}"):
        response = clients.service("sagemaker").create_hyper_parameter_tuning_job(**request)
    return str(response["HyperParameterTuningJobArn"])


def find(clients: Clients, name: str) -> TuningJob | None:
    """Return a tuning job; None if there is none of this name.

    :raises StratusError: SageMaker refused, or does not answer.
    """
    with clients.translate_errors(f"looking up the tuning job {name}"):
        try:
            response = clients.service("sagemaker").describe_hyper_parameter_tuning_job(
                HyperParameterTuningJobName=name
            )
        except errors.error_types() as error:
            if errors.code_of(error) != "ResourceNotFound":
                raise
            return None
    limits = response.get("HyperParameterTuningJobConfig", {}).get("ResourceLimits", {})
    return TuningJob(
        name,
        response["HyperParameterTuningJobArn"],
        response["HyperParameterTuningJobStatus"],
        (response.get("BestTrainingJob") or {}).get("TrainingJobName", ""),
        response.get("FailureReason", ""),
        response.get("CreationTime"),
        response.get("HyperParameterTuningEndTime"),
        limits.get("MaxNumberOfTrainingJobs", 0),
        limits.get("MaxParallelTrainingJobs", 1),
    )


def names(clients: Clients, own: ClusterId) -> list[str]:
    """Return the names of a cluster's tuning jobs of the last four weeks, newest first.

    :raises StratusError: SageMaker refused, or does not answer.
    """
    since = clients.clock.now() - timedelta(days=training.LISTED_DAYS)
    listed = _summaries(clients, own, CreationTimeAfter=since, SortBy="CreationTime", SortOrder="Descending")
    return [
        item["HyperParameterTuningJobName"]
        for item in listed
        if own.matches(ownership.tags(clients, item["HyperParameterTuningJobArn"]))
    ]


def _summaries(clients: Clients, own: ClusterId, **options: Any) -> list[dict[str, Any]]:
    """Return the tuning jobs with the beginning of a cluster's names, which other clusters may share."""
    with clients.translate_errors("listing tuning jobs"):
        pages = clients.service("sagemaker").get_paginator("list_hyper_parameter_tuning_jobs")
        prefix = training.short_name_prefix(own.cluster)
        return [
            summary
            for page in pages.paginate(NameContains=prefix, **options)
            for summary in page["HyperParameterTuningJobSummaries"]
        ]


def children(clients: Clients, name: str) -> list[TuningChild]:
    """Return the training jobs of a tuning job, oldest first.

    :raises StratusError: SageMaker refused, or does not answer.
    """
    with clients.translate_errors(f"listing the training jobs of {name}"):
        pages = clients.service("sagemaker").get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
        summaries = [
            summary
            for page in pages.paginate(HyperParameterTuningJobName=name, SortBy="CreationTime", SortOrder="Ascending")
            for summary in page["TrainingJobSummaries"]
        ]
    return [_child(summary) for summary in summaries]


def _child(summary: Mapping[str, Any]) -> TuningChild:
    metric = summary.get("FinalHyperParameterTuningJobObjectiveMetric") or {}
    # SageMaker quotes the chosen values.
    chosen = {name: str(value).strip('"') for name, value in summary.get("TunedHyperParameters", {}).items()}
    value = metric.get("Value")
    return TuningChild(
        summary["TrainingJobName"],
        summary["TrainingJobStatus"],
        None if value is None else float(value),
        chosen,
        summary.get("FailureReason", ""),
    )


def stop(clients: Clients, name: str) -> None:
    """Request the end of a tuning job and of its training jobs; one that has ended already is no error.

    :raises StratusError: SageMaker refused, or does not answer.
    """
    # What may be stopped need not be seen.
    with suppress(CloudRefused):
        job = find(clients, name)
        if job is None or job.has_ended or job.status == "Stopping":
            return
    with clients.translate_errors(f"stopping the tuning job {name}"):
        clients.service("sagemaker").stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)


@dataclass(frozen=True)
class TuningJobs:
    """The cluster's tuning jobs in progress, as managed resources; their training jobs are billed, not they."""

    clients: Clients
    cluster_id: Callable[[], ClusterId]
    memo: TagMemo
    label: str = "tuning job"

    def find(self) -> Sequence[ManagedResource]:
        """Return the tuning jobs that start training jobs, or wait for their end."""
        own = self.cluster_id()
        listed = _summaries(self.clients, own)
        return [
            ManagedResource(
                kind=self.label,
                name=summary["HyperParameterTuningJobName"],
                state=summary["HyperParameterTuningJobStatus"],
                usd_per_hour=Decimal(0),
                created_at=summary["CreationTime"],
            )
            for summary in listed
            if summary["HyperParameterTuningJobStatus"] not in ENDED
            and self.memo.owns(own, summary["HyperParameterTuningJobArn"], summary["CreationTime"])
        ]

    def end(self, name: str) -> None:
        """Stop a tuning job."""
        stop(self.clients, name)
