"""Record of a training job: its request, status and times, as DescribeTrainingJob returns them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from localcloud.aws.ecr import ACCOUNT
from localcloud.aws.wsgi import Params
from localcloud.sagemaker.training.metrics import MetricReader
from localcloud.sagemaker.training.pool import WarmPool

ENDED = ("Completed", "Failed", "Stopped")
MESSAGES = {
    "Starting": "Preparing the instances for training",
    "Pending": "Training job waiting for capacity",
    "Downloading": "Downloading the training image",
    "Training": "Training image download completed. Training in progress.",
    "Interrupted": "Training job interrupted",
    "Stopping": "Stopping the training job",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "Training job runtime exceeded MaxWaitTimeInSeconds provided",
}
"""Status messages of the secondary statuses."""
# Share of the on-demand price that a managed spot job pays.
_SPOT_SHARE = 0.38
_DEFAULT_RUNTIME_S = 86400
_NOT_ECHOED = ("Tags", "SessionChainingConfig")


@dataclass
class Transition:
    """A secondary status with its time."""

    status: str
    started_at: datetime
    ended_at: datetime | None = None

    def describe(self) -> dict[str, Any]:
        """Return it as SecondaryStatusTransitions has it."""
        end = {"EndTime": self.ended_at} if self.ended_at is not None else {}
        message = MESSAGES.get(self.status, self.status)
        return {"Status": self.status, "StartTime": self.started_at, **end, "StatusMessage": message}


@dataclass
class TrainingJob:
    """A training job; changed under the cloud's lock.

    :param request: parameters of CreateTrainingJob, with AWS's defaults.
    :param tuning_arn: tuning job whose child it is; empty for none.
    :param busy_s: seconds on instances, in runs that have ended.
    """

    request: Params
    region: str
    created_at: datetime
    tuning_arn: str = ""
    status: str = "InProgress"
    secondary: str = ""
    transitions: list[Transition] = field(default_factory=list)
    started_at: datetime | None = None
    ended_at: datetime | None = None
    run_started_at: datetime | None = None
    busy_s: float = 0.0
    failure: str = ""
    model_url: str = ""
    interruptions: int = 0
    pool: WarmPool | None = None

    def __post_init__(self) -> None:
        self.request.setdefault("StoppingCondition", {}).setdefault("MaxRuntimeInSeconds", _DEFAULT_RUNTIME_S)
        for name in (
            "EnableNetworkIsolation",
            "EnableInterContainerTrafficEncryption",
            "EnableManagedSpotTraining",
        ):
            self.request.setdefault(name, False)
        self.metrics = MetricReader(self.request.get("AlgorithmSpecification", {}).get("MetricDefinitions", []))
        self.modified_at = self.created_at
        self.enter("Starting", self.created_at)

    @property
    def name(self) -> str:
        """Name of the job."""
        return str(self.request["TrainingJobName"])

    @property
    def arn(self) -> str:
        """ARN of the job."""
        return f"arn:aws:sagemaker:{self.region}:{ACCOUNT}:training-job/{self.name}"

    @property
    def is_spot(self) -> bool:
        """True for managed spot training."""
        return bool(self.request["EnableManagedSpotTraining"])

    @property
    def instance_count(self) -> int:
        """Number of instances, over all groups."""
        resources = self.request["ResourceConfig"]
        groups = resources.get("InstanceGroups", [])
        return sum(group["InstanceCount"] for group in groups) or int(resources.get("InstanceCount", 1))

    @property
    def instance_type(self) -> str:
        """Type of the instances; of the first group if there are groups."""
        resources = self.request["ResourceConfig"]
        groups = resources.get("InstanceGroups") or [{}]
        return str(resources.get("InstanceType") or groups[0].get("InstanceType", ""))

    @property
    def has_ended(self) -> bool:
        """True in a final status."""
        return self.status in ENDED

    def enter(self, secondary: str, now: datetime) -> None:
        """Enter a secondary status."""
        if self.transitions:
            self.transitions[-1].ended_at = now
        self.secondary, self.modified_at = secondary, now
        self.transitions.append(Transition(secondary, now))

    def start_run(self, now: datetime) -> None:
        """Note that the job has instances."""
        self.started_at = self.started_at or now
        self.run_started_at = now

    def end_run(self, now: datetime) -> None:
        """Note that the job has no instances any more."""
        if self.run_started_at is not None:
            self.busy_s += (now - self.run_started_at).total_seconds()
            self.run_started_at = None

    def end(self, status: str, secondary: str, now: datetime) -> None:
        """Enter a final status."""
        self.end_run(now)
        self.enter(secondary, now)
        self.transitions[-1].ended_at = now
        self.status, self.ended_at = status, now

    def summary(self) -> dict[str, Any]:
        """Return the job as ListTrainingJobs has it."""
        fields = {
            "TrainingJobName": self.name,
            "TrainingJobArn": self.arn,
            "CreationTime": self.created_at,
            "LastModifiedTime": self.modified_at,
            "TrainingJobStatus": self.status,
            "SecondaryStatus": self.secondary,
            "TrainingEndTime": self.ended_at,
            "WarmPoolStatus": self.pool.describe() if self.pool is not None else None,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def describe(self) -> dict[str, Any]:
        """Return the job as DescribeTrainingJob has it."""
        optional = {
            "TrainingStartTime": self.started_at,
            "FailureReason": self.failure or None,
            "ModelArtifacts": {"S3ModelArtifacts": self.model_url} if self.model_url else None,
            "FinalMetricDataList": self.metrics.final() or None,
            "TuningJobArn": self.tuning_arn or None,
        }
        return {
            **{name: value for name, value in self.request.items() if name not in _NOT_ECHOED},
            **self.summary(),
            **{name: value for name, value in optional.items() if value is not None},
            "SecondaryStatusTransitions": [transition.describe() for transition in self.transitions],
            **self._bill(),
        }

    def _bill(self) -> dict[str, int]:
        if not self.has_ended or self.started_at is None:
            return {}
        seconds = math.ceil(self.busy_s)
        billable = math.ceil(self.busy_s * _SPOT_SHARE) if self.is_spot else seconds
        return {"TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": billable}
