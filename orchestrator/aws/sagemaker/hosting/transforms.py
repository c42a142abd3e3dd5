"""Batch transforms: created, described, listed and stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orchestrator.aws import errors
from orchestrator.aws.managed.resources import ManagedResource
from orchestrator.aws.sagemaker.ownership import TagMemo
from orchestrator.aws.sagemaker.training import name_prefix

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients
    from orchestrator.aws.identity import ClusterId

ENDED = ("Completed", "Failed", "Stopped")
LOG_GROUP = "/aws/sagemaker/TransformJobs"


@dataclass(frozen=True)
class TransformRequest:
    """A batch transform.

    :param input_url: S3 prefix of the objects.
    :param output_url: S3 prefix of the predictions: each object's key with ``.out`` appended.
    :param split: ``None``, or ``Line`` for requests of whole lines.
    """

    name: str
    model: str
    input_url: str
    output_url: str
    content_type: str
    instance_type: str
    count: int
    split: str = "None"
    accept: str = ""
    tags: Sequence[Mapping[str, str]] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the parameters of CreateTransformJob."""
        source = {"S3DataType": "S3Prefix", "S3Uri": self.input_url}
        output: dict[str, Any] = {"S3OutputPath": self.output_url}
        output |= {"Accept": self.accept} if self.accept else {}
        output |= {"AssembleWith": "Line"} if self.split == "Line" else {}
        return {
            "TransformJobName": self.name,
            "ModelName": self.model,
            "BatchStrategy": "MultiRecord" if self.split == "Line" else "SingleRecord",
            "TransformInput": {
                "DataSource": {"S3DataSource": source},
                "ContentType": self.content_type,
                "SplitType": self.split,
            },
            "TransformOutput": output,
            "TransformResources": {"InstanceType": self.instance_type, "InstanceCount": self.count},
            "Tags": list(self.tags),
        }


@dataclass(frozen=True)
class TransformJob:
    """A batch transform as SageMaker describes it.

    :param status: InProgress, Completed, Failed, Stopping or Stopped.
    :param reason: of a failure; empty without one.
    """

    name: str
    arn: str
    status: str
    instance_type: str
    count: int
    created_at: datetime
    output_url: str
    reason: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def has_ended(self) -> bool:
        """True if its status changes no more."""
        return self.status in ENDED

    @property
    def seconds(self) -> float | None:
        """Seconds that are billed; None before its end."""
        return (self.ended_at - self.started_at).total_seconds() if self.started_at and self.ended_at else None


def create(clients: Clients, request: TransformRequest) -> str:
    """Create a transform job and return its ARN.

    :raises StratusError: SageMaker refused, or does not answer.
    """
    with clients.translate_errors(f"creating the transform job {request.name}"):
        return str(clients.service("sagemaker").create_transform_job(**request.as_dict())["TransformJobArn"])


def find(clients: Clients, name: str) -> TransformJob | None:
    """Return a transform job; None if there is none of this name.

    :raises StratusError: SageMaker refused, or does not answer.
    """
    with clients.translate_errors(f"looking up the transform job {name}"):
        try:
            response = clients.service("sagemaker").describe_transform_job(TransformJobName=name)
        except errors.error_types() as error:
            if errors.code_of(error) == "ResourceNotFound" or "not f" in errors.message_of(error).lower():
                return None
            raise
    return _job(response)


def stop(clients: Clients, name: str) -> None:
    """Request the end of a transform job; one that has ended already is no error.

    :raises StratusError: SageMaker refused, or does not answer.
    """
    with clients.translate_errors(f"stopping the transform job {name}"):
        try:
            clients.service("sagemaker").stop_transform_job(TransformJobName=name)
        except errors.error_types() as error:
            text = errors.message_of(error)
            if "not f" not in text.lower() and not any(status in text for status in (*ENDED, "Stopping")):
                raise


def running(clients: Clients, memo: TagMemo, own: ClusterId) -> list[str]:
    """Return the names of the transform jobs in progress of a cluster and owner.

    :raises StratusError: SageMaker refused, or does not answer.
    """
    prefix = name_prefix(own.cluster)
    with clients.translate_errors("listing transform jobs"):
        pages = clients.service("sagemaker").get_paginator("list_transform_jobs").paginate(NameContains=prefix)
        summaries = [item for page in pages for item in page["TransformJobSummaries"]]
    present = [item for item in summaries if item["TransformJobStatus"] not in ENDED]
    return [item["TransformJobName"] for item in memo.own(own, present, "TransformJob")]


def _job(response: Mapping[str, Any]) -> TransformJob:
    resources = response.get("TransformResources", {})
    return TransformJob(
        name=response["TransformJobName"],
        arn=response["TransformJobArn"],
        status=response["TransformJobStatus"],
        instance_type=resources.get("InstanceType", ""),
        count=resources.get("InstanceCount", 1),
        created_at=response["CreationTime"],
        output_url=response.get("TransformOutput", {}).get("S3OutputPath", ""),
        reason=response.get("FailureReason", ""),
        started_at=response.get("TransformStartTime"),
        ended_at=response.get("TransformEndTime"),
    )


@dataclass(frozen=True)
class TransformJobs:
    """The cluster's transform jobs in progress, as managed resources.

    :param usd_per_hour: returns the price of one instance of a type; None if unknown.
    """

    clients: Clients
    cluster_id: Callable[[], ClusterId]
    usd_per_hour: Callable[[str], Decimal | None]
    memo: TagMemo
    label: str = "transform job"

    def find(self) -> Sequence[ManagedResource]:
        """Return the jobs that are billed, or about to be."""
        listed = running(self.clients, self.memo, self.cluster_id())
        jobs = [job for job in (find(self.clients, name) for name in listed) if job is not None]
        return [self._resource(job) for job in jobs if not job.has_ended]

    def _resource(self, job: TransformJob) -> ManagedResource:
        price = self.usd_per_hour(job.instance_type)
        return ManagedResource(
            kind=self.label,
            name=job.name,
            state=job.status,
            type=job.instance_type,
            count=job.count,
            usd_per_hour=None if price is None else price * job.count,
            created_at=job.created_at,
        )

    def end(self, name: str) -> None:
        """Stop a job."""
        stop(self.clients, name)
