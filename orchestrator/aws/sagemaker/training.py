"""Training jobs: created, described, listed and stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orchestrator.aws import errors
from orchestrator.aws.managed.resources import ManagedResource
from orchestrator.aws.sagemaker.ownership import TagMemo, is_missing
from orchestrator.core.errors import StratusError

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients
    from orchestrator.aws.identity import ClusterId

ENDED = ("Completed", "Failed", "Stopped", "Deleting")
_SHORT = 8
LISTED_DAYS = 29
"""A training job runs for 28 days at most."""


@dataclass(frozen=True)
class Phase:
    """A secondary status of a job and its time.

    :param status: such as ``Starting``, ``Downloading``, ``Training``; AWS's list is subject to change.
    """

    status: str
    message: str
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class TrainingJob:
    """A training job as SageMaker describes it.

    :param status: InProgress, Completed, Failed, Stopping or Stopped.
    :param phases: secondary statuses in order.
    :param reason: of a failure; empty without one.
    :param billable_s: seconds that are billed for each instance; None before the end.
    :param training_s: seconds of use of each instance; more than billed ones on spot instances.
    :param warm_pool: Available, InUse, Reused or Terminated; empty without a warm pool.
    :param keep_alive_s: how long its instances are kept for another job.
    """

    name: str
    arn: str
    status: str
    secondary: str
    instance_type: str
    count: int
    created_at: datetime
    phases: tuple[Phase, ...] = ()
    reason: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    billable_s: int | None = None
    training_s: int | None = None
    is_spot: bool = False
    max_runtime_s: int = 0
    model_url: str = ""
    output_url: str = ""
    warm_pool: str = ""
    keep_alive_s: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    hyperparameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """True if its status changes no more."""
        return self.status in ENDED

    @property
    def pool_ends_at(self) -> datetime | None:
        """When its warm pool ends by itself; None without one, and before the end of the job."""
        return self.ended_at + timedelta(seconds=self.keep_alive_s) if self.ended_at and self.keep_alive_s else None

    @property
    def ends_at(self) -> datetime | None:
        """When it is stopped, or its warm pool ended, at the latest; None if unknown."""
        if self.has_ended:
            return self.pool_ends_at
        began = self.started_at or self.created_at
        return began + timedelta(seconds=self.max_runtime_s) if self.max_runtime_s else None


def create(clients: Clients, request: Mapping[str, Any]) -> str:
    """Create a training job and return its ARN.

    :raises StratusError: SageMaker refused, or does not answer.
    """
    with clients.translate_errors(f"creating the training job {request['TrainingJobName']}"):
        response = clients.service("sagemaker").create_training_job(**request)
    return str(response["TrainingJobArn"])


def find(clients: Clients, name: str) -> TrainingJob | None:
    """Return a training job; None if there is none of this name.

    :raises StratusError: SageMaker refused, or does not answer.
    """
    with clients.translate_errors(f"looking up the training job {name}"):
        try:
            response = clients.service("sagemaker").describe_training_job(TrainingJobName=name)
        except errors.error_types() as error:
            if is_missing(error):
                return None
            raise
    return _job(response)


def stop(clients: Clients, name: str) -> None:
    """Request the end of a training job: its container gets 120 s; one that has ended already is no error.

    :raises StratusError: SageMaker refused, or does not answer.
    """
    with clients.translate_errors(f"stopping the training job {name}"):
        try:
            clients.service("sagemaker").stop_training_job(TrainingJobName=name)
        except errors.error_types() as error:
            # AWS: "The request was rejected because the training job is in status Completed."
            text = errors.message_of(error)
            if not is_missing(error) and not any(status in text for status in (*ENDED, "Stopping")):
                raise


def stop_unseen(clients: Clients, name: str) -> None:
    """Request the end of a training job that may not be described, and of its warm pool.

    :raises StratusError: SageMaker refused, or does not answer.
    """
    stop(clients, name)
    # Refused without one, and while the job runs: it keeps nothing then.
    with suppress(StratusError):
        end_warm_pool(clients, name)


def end_warm_pool(clients: Clients, name: str) -> None:
    """End the warm pool of a training job.

    :raises StratusError: SageMaker refused, or does not answer.
    """
    with clients.translate_errors(f"ending the warm pool of {name}"):
        clients.service("sagemaker").update_training_job(
            TrainingJobName=name, ResourceConfig={"KeepAlivePeriodInSeconds": 0}
        )


def names(clients: Clients, name_part: str) -> list[str]:
    """Return the names of the jobs of the last four weeks, newest first.

    :param name_part: text in their names.
    :raises StratusError: SageMaker refused, or does not answer.
    """
    return [item["TrainingJobName"] for item in summaries(clients, name_part)]


def summaries(clients: Clients, name_part: str, *, only_billed: bool = False) -> list[Mapping[str, Any]]:
    """Return SageMaker's summaries of the jobs of the last four weeks, newest first.

    :param name_part: text in their names.
    :param only_billed: only those in progress, and those with a warm pool.
    :raises StratusError: SageMaker refused, or does not answer.
    """
    options = {
        "NameContains": name_part,
        "CreationTimeAfter": clients.clock.now() - timedelta(days=LISTED_DAYS),
        "SortBy": "CreationTime",
        "SortOrder": "Descending",
    }
    with clients.translate_errors("listing training jobs"):
        pages = clients.service("sagemaker").get_paginator("list_training_jobs").paginate(**options)
        listed = [summary for page in pages for summary in page["TrainingJobSummaries"]]
    return [item for item in listed if not only_billed or _is_billed(item)]


def _is_billed(summary: Mapping[str, Any]) -> bool:
    warm_pool = (summary.get("WarmPoolStatus") or {}).get("Status", "")
    return summary["TrainingJobStatus"] not in ENDED or warm_pool in ("Available", "InUse")


def name_prefix(cluster: str) -> str:
    """Return the beginning of the names of a cluster's jobs."""
    return f"stratus-{cluster}-"


def short_name_prefix(cluster: str) -> str:
    """Return the beginning of the names of a cluster's tuning jobs, and so of their training jobs.

    Clusters of similar names may share it: a tuning job's name has 32 characters at most.
    """
    return f"stratus-{cluster[:_SHORT].rstrip('-')}-"


def _job(response: Mapping[str, Any]) -> TrainingJob:
    resources, checkpoint = response.get("ResourceConfig", {}), response.get("OutputDataConfig", {})
    phases = tuple(map(_phase, response.get("SecondaryStatusTransitions", ())))
    return TrainingJob(
        name=response["TrainingJobName"],
        arn=response["TrainingJobArn"],
        status=response["TrainingJobStatus"],
        secondary=response.get("SecondaryStatus", ""),
        instance_type=resources.get("InstanceType", ""),
        count=resources.get("InstanceCount", 1),
        created_at=response["CreationTime"],
        phases=phases,
        reason=response.get("FailureReason", ""),
        started_at=response.get("TrainingStartTime"),
        ended_at=response.get("TrainingEndTime"),
        billable_s=response.get("BillableTimeInSeconds"),
        training_s=response.get("TrainingTimeInSeconds"),
        is_spot=bool(response.get("EnableManagedSpotTraining")),
        max_runtime_s=response.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", 0),
        model_url=response.get("ModelArtifacts", {}).get("S3ModelArtifacts", ""),
        output_url=checkpoint.get("S3OutputPath", ""),
        warm_pool=(response.get("WarmPoolStatus") or {}).get("Status", ""),
        keep_alive_s=resources.get("KeepAlivePeriodInSeconds", 0),
        metrics={item["MetricName"]: float(item["Value"]) for item in response.get("FinalMetricDataList", ())},
        hyperparameters=dict(response.get("HyperParameters", {})),
    )


def _phase(item: Mapping[str, Any]) -> Phase:
    return Phase(item["Status"], item.get("StatusMessage", ""), item["StartTime"], item.get("EndTime"))


@dataclass(frozen=True)
class TrainingJobs:
    """The cluster's training jobs in progress, as managed resources.

    :param usd_per_hour: returns the price of one instance of a type; None if unknown.
    """

    clients: Clients
    cluster_id: Callable[[], ClusterId]
    usd_per_hour: Callable[[str], Decimal | None]
    memo: TagMemo
    label: str = "training job"

    def find(self) -> Sequence[ManagedResource]:
        """Return the jobs that are billed, or about to be; a job that has ended counts as long as its warm pool is."""
        own = self.cluster_id()
        prefixes = dict.fromkeys((name_prefix(own.cluster), short_name_prefix(own.cluster)))
        listed = {
            item["TrainingJobName"]: item
            for prefix in prefixes
            for item in summaries(self.clients, prefix, only_billed=True)
        }
        owned = self.memo.own(own, listed.values(), "TrainingJob")
        jobs = [find(self.clients, item["TrainingJobName"]) for item in owned]
        return [self._resource(job) for job in jobs if job is not None]

    def _resource(self, job: TrainingJob) -> ManagedResource:
        price = self.usd_per_hour(job.instance_type)
        return ManagedResource(
            kind=self.label,
            name=job.name,
            state=f"warm pool {job.warm_pool}" if job.has_ended else job.secondary or job.status,
            type=job.instance_type,
            count=job.count,
            usd_per_hour=None if price is None else price * job.count,
            created_at=job.created_at,
            ends_at=job.ends_at,
        )

    def end(self, name: str) -> None:
        """Stop a job, or end its warm pool if it has ended."""
        job = find(self.clients, name)
        if job is None:
            return
        if job.has_ended:
            end_warm_pool(self.clients, name)
        elif job.status != "Stopping":
            stop(self.clients, name)
