"""SageMaker's calls for training jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from localcloud.aws.error_responses import ApiError
from localcloud.aws.wsgi import Params
from localcloud.sagemaker import paging, roles
from localcloud.sagemaker.dispatch import Call, Handler
from localcloud.sagemaker.training import rules
from localcloud.sagemaker.training.lifecycle import TrainingLifecycle
from localcloud.sagemaker.training.record import TrainingJob

_SORT = {"Name": "name", "CreationTime": "created_at", "Status": "status"}


class TrainingApi:
    """Training jobs of all regions. moto keeps their tags, and finds them by tags."""

    def __init__(self, lifecycle: TrainingLifecycle) -> None:
        self.lifecycle = lifecycle
        self.jobs: dict[tuple[str, str], TrainingJob] = {}

    @property
    def actions(self) -> Mapping[str, Handler]:
        """Handlers by action."""
        return {
            "CreateTrainingJob": self.create,
            "DescribeTrainingJob": self.describe,
            "ListTrainingJobs": self.list,
            "StopTrainingJob": self.stop,
        }

    def create(self, call: Call) -> dict[str, Any]:
        """Answer CreateTrainingJob."""
        rules.check(call.params)
        environment = self.lifecycle.environment
        with environment.lock:
            roles.check(call.params["RoleArn"])
            job = TrainingJob(call.params, call.region, environment.clock.utc())
            if (call.region, job.name) in self.jobs:
                message = (
                    "Training job names must be unique within an AWS account and region, and a training job with this "
                    f"name already exists ({job.arn})"
                )
                raise ApiError("ResourceInUse", message)
            call.forward()
            self.jobs[call.region, job.name] = job
            self.lifecycle.begin(job)
        return {"TrainingJobArn": job.arn}

    def describe(self, call: Call) -> dict[str, Any]:
        """Answer DescribeTrainingJob."""
        with self.lifecycle.environment.lock:
            return self._named(call).describe()

    def list(self, call: Call) -> dict[str, Any]:
        """Answer ListTrainingJobs."""
        with self.lifecycle.environment.lock:
            jobs = [job for (region, _), job in self.jobs.items() if region == call.region]
            chosen = sorted_by(_matching(jobs, call.params), call.params, "CreationTime")
            return paging.page([job.summary() for job in chosen], call.params, "TrainingJobSummaries")

    def stop(self, call: Call) -> dict[str, Any]:
        """Answer StopTrainingJob."""
        job = self._named(call)
        with self.lifecycle.environment.lock:
            if job.has_ended:
                message = f"The request was rejected because the training job is in status {job.status}"
                raise ApiError("ValidationException", message)
            self.lifecycle.stop(job)
        return {}

    def _named(self, call: Call) -> TrainingJob:
        job = self.jobs.get((call.region, call.params["TrainingJobName"]))
        if job is None:
            raise ApiError("ValidationException", "Requested resource not found.")
        return job


def sorted_by(jobs: Iterable[TrainingJob], params: Params, default: str) -> list[TrainingJob]:
    """Return jobs in the order that SortBy and SortOrder name; the newest first by default."""
    attribute = _SORT.get(params.get("SortBy", default), "created_at")
    descending = params.get("SortOrder", "Descending" if attribute == "created_at" else "Ascending") == "Descending"
    return sorted(jobs, key=lambda job: getattr(job, attribute), reverse=descending)


def _matching(jobs: Iterable[TrainingJob], params: Params) -> list[TrainingJob]:
    return [
        job
        for job in jobs
        if params.get("NameContains", "").lower() in job.name.lower()
        and params.get("StatusEquals") in (None, job.status)
        and _within(job.created_at, params.get("CreationTimeAfter"), params.get("CreationTimeBefore"))
        and _within(job.modified_at, params.get("LastModifiedTimeAfter"), params.get("LastModifiedTimeBefore"))
    ]


def _within(time: datetime, after: float | None, before: float | None) -> bool:
    seconds = time.replace(tzinfo=UTC).timestamp()
    return (after is None or seconds > after) and (before is None or seconds < before)
