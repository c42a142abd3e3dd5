"""Record of a tuning job and of its children, as SageMaker describes them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from localcloud.aws.ecr import ACCOUNT
from localcloud.aws.wsgi import Params
from localcloud.sagemaker.training.record import TrainingJob

_COUNTERS = {"Completed": "Completed", "Failed": "NonRetryableError", "Stopped": "Stopped"}


@dataclass(frozen=True)
class Child:
    """A training job with the values that were chosen for it."""

    job: TrainingJob
    values: Mapping[str, str]


@dataclass
class TuningJob:
    """A tuning job; changed under the cloud's lock."""

    request: Params
    region: str
    created_at: datetime
    status: str = "InProgress"
    children: list[Child] = field(default_factory=list)
    ended_at: datetime | None = None
    modified_at: datetime | None = None
    failure: str = ""

    @property
    def name(self) -> str:
        """Name of the job."""
        return str(self.request["HyperParameterTuningJobName"])

    @property
    def arn(self) -> str:
        """ARN of the job."""
        return f"arn:aws:sagemaker:{self.region}:{ACCOUNT}:hyper-parameter-tuning-job/{self.name}"

    @property
    def config(self) -> dict[str, Any]:
        """HyperParameterTuningJobConfig of the request."""
        config: dict[str, Any] = self.request["HyperParameterTuningJobConfig"]
        return config

    @property
    def objective(self) -> Mapping[str, str]:
        """Type and MetricName of the objective."""
        objective: Mapping[str, str] = self.config["HyperParameterTuningJobObjective"]
        return objective

    @property
    def has_ended(self) -> bool:
        """True in a final status."""
        return self.status in ("Completed", "Failed", "Stopped")

    @property
    def running(self) -> list[TrainingJob]:
        """Children that have not ended."""
        return [child.job for child in self.children if not child.job.has_ended]

    def value_of(self, child: Child) -> float | None:
        """Return the objective of a child; None if it wrote none."""
        return child.job.metrics.value(self.objective["MetricName"])

    def best(self) -> Child | None:
        """Return the completed child with the best objective."""
        sign = -1 if self.objective["Type"] == "Maximize" else 1
        scored = [
            (sign * value, number, child)
            for number, child in enumerate(self.children)
            if child.job.status == "Completed" and (value := self.value_of(child)) is not None
        ]
        return min(scored)[2] if scored else None

    def objective_status(self, child: Child) -> str:
        """Return Pending while a child runs, then Succeeded if it wrote its objective, else Failed."""
        if not child.job.has_ended:
            return "Pending"
        is_scored = child.job.status != "Failed" and self.value_of(child) is not None
        return "Succeeded" if is_scored else "Failed"

    def summary_of(self, child: Child) -> dict[str, Any]:
        """Return a child as HyperParameterTrainingJobSummary."""
        job, value = child.job, self.value_of(child)
        metric = {**self.objective, "Value": value} if value is not None and job.has_ended else None
        fields = {
            "TrainingJobName": job.name,
            "TrainingJobArn": job.arn,
            "CreationTime": job.created_at,
            "TrainingStartTime": job.started_at,
            "TrainingEndTime": job.ended_at,
            "TrainingJobStatus": job.status,
            "TunedHyperParameters": dict(child.values),
            "FailureReason": job.failure or None,
            "FinalHyperParameterTuningJobObjectiveMetric": metric,
            "ObjectiveStatus": self.objective_status(child),
        }
        return {name: value for name, value in fields.items() if value is not None}

    def summary(self) -> dict[str, Any]:
        """Return the job as ListHyperParameterTuningJobs has it."""
        return {
            **self._facts(),
            "Strategy": self.config["Strategy"],
            "ResourceLimits": self.config["ResourceLimits"],
        }

    def describe(self) -> dict[str, Any]:
        """Return the job as DescribeHyperParameterTuningJob has it."""
        best = self.best()
        optional = {
            "BestTrainingJob": self.summary_of(best) if best is not None else None,
            "FailureReason": self.failure or None,
        }
        runtime_s = sum(math.ceil(child.job.busy_s) for child in self.children)
        return {
            **self._facts(),
            "HyperParameterTuningJobConfig": self.config,
            "TrainingJobDefinition": self.request["TrainingJobDefinition"],
            "ConsumedResources": {"RuntimeInSeconds": runtime_s},
            **{name: value for name, value in optional.items() if value is not None},
        }

    def _facts(self) -> dict[str, Any]:
        statuses = Counter(_COUNTERS.get(child.job.status, "InProgress") for child in self.children)
        objectives = Counter(map(self.objective_status, self.children))
        names = ("Completed", "InProgress", "RetryableError", "NonRetryableError", "Stopped")
        end = {"HyperParameterTuningEndTime": self.ended_at} if self.ended_at is not None else {}
        return {
            "HyperParameterTuningJobName": self.name,
            "HyperParameterTuningJobArn": self.arn,
            "HyperParameterTuningJobStatus": self.status,
            "CreationTime": self.created_at,
            "LastModifiedTime": self.modified_at or self.created_at,
            **end,
            "TrainingJobStatusCounters": {name: statuses[name] for name in names},
            "ObjectiveStatusCounters": {name: objectives[name] for name in ("Succeeded", "Pending", "Failed")},
        }
