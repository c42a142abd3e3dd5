"""SageMaker's calls for training jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from localcloud.aws.error_responses import ApiError
from localcloud.aws.wsgi import Params
from localcloud.sagemaker import paging, roles
from localcloud.sagemaker.dispatch import Call, Handler
from localcloud.sagemaker.training import limits, rules, tag_record, warm_pools
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
            "UpdateTrainingJob": self.update,
            "DeleteTrainingJob": self.delete,
            "Search": self.search,
        }

    def create(self, call: Call) -> dict[str, Any]:
        """Answer CreateTrainingJob."""
        environment = self.lifecycle.environment
        with environment.lock:
            job = TrainingJob(call.params, call.region, environment.clock.utc())
            self.check(job)
            self.add(job)
        return {"TrainingJobArn": job.arn}

    def check(self, job: TrainingJob) -> None:
        """Check a job before it is added; the caller holds the cloud's lock.

        :raises ApiError: its request is not valid, its name is taken, or a quota does not allow it.
        """
        rules.check(job.request)
        roles.check(job.request["RoleArn"])
        if (job.region, job.name) in self.jobs:
            message = (
                "Training job names must be unique within an AWS account and region, and a training job with this "
                f"name already exists ({job.arn})"
            )
            raise ApiError("ResourceInUse", message)
        job.pool = warm_pools.requested(job)
        limits.check_quota(self.lifecycle.environment, job, self.of_region(job.region))

    def add(self, job: TrainingJob) -> None:
        """Add a job, and start it; the caller holds the cloud's lock."""
        now = self.lifecycle.environment.clock.utc()
        is_warm = warm_pools.claim(job, self.of_region(job.region), now)
        self.jobs[job.region, job.name] = job
        tag_record.add(job)
        self.lifecycle.begin(job, is_warm=is_warm)

    def of_region(self, region: str) -> list[TrainingJob]:
        """Return the jobs of a region, the oldest first."""
        return [job for (other, _), job in self.jobs.items() if other == region]

    def describe(self, call: Call) -> dict[str, Any]:
        """Answer DescribeTrainingJob."""
        with self.lifecycle.environment.lock:
            return self._named(call).describe()

    def list(self, call: Call) -> dict[str, Any]:
        """Answer ListTrainingJobs."""
        with self.lifecycle.environment.lock:
            chosen = sorted_by(_matching(self.of_region(call.region), call.params), call.params)
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

    def update(self, call: Call) -> dict[str, Any]:
        """Answer UpdateTrainingJob: the time for which a warm pool is kept."""
        job, resources = self._named(call), call.params.get("ResourceConfig")
        with self.lifecycle.environment.lock:
            if resources is not None:
                if job.pool is None or job.pool.status not in ("InUse", "Available"):
                    message = "The warm pool of the training job is not available for an update."
                    raise ApiError("ValidationException", message)
                self.lifecycle.keep(job, resources["KeepAlivePeriodInSeconds"])
        return {"TrainingJobArn": job.arn}

    def delete(self, call: Call) -> dict[str, Any]:
        """Answer DeleteTrainingJob."""
        job = self._named(call)
        with self.lifecycle.environment.lock:
            if not job.has_ended:
                message = f"Training job {job.name} is in status {job.status} and cannot be deleted."
                raise ApiError("ResourceInUse", message)
            self.lifecycle.keep(job, 0)
            del self.jobs[job.region, job.name]
            tag_record.remove(job)
        return {}

    def search(self, call: Call) -> dict[str, Any]:
        """Answer Search: moto finds the jobs by their tags and names; what it returns of them is described here."""
        answer = call.forward()
        with self.lifecycle.environment.lock:
            for result in answer.get("Results", []):
                name = result.get("TrainingJob", {}).get("TrainingJobName", "")
                if job := self.jobs.get((call.region, name)):
                    result["TrainingJob"] = {**job.describe(), "Tags": result["TrainingJob"].get("Tags", [])}
        return answer

    def _named(self, call: Call) -> TrainingJob:
        job = self.jobs.get((call.region, call.params["TrainingJobName"]))
        if job is None:
            raise ApiError("ValidationException", "Requested resource not found.")
        return job


def sorted_by(jobs: Iterable[TrainingJob], params: Params) -> list[TrainingJob]:
    """Return jobs in the order that SortBy and SortOrder name; the newest first by default."""
    attribute = _SORT.get(params.get("SortBy", ""), "created_at")
    descending = params.get("SortOrder", "Descending" if attribute == "created_at" else "Ascending") == "Descending"
    return sorted(jobs, key=lambda job: getattr(job, attribute), reverse=descending)


def _matching(jobs: Iterable[TrainingJob], params: Params) -> list[TrainingJob]:
    return [
        job
        for job in jobs
        if params.get("NameContains", "").lower() in job.name.lower()
        and params.get("StatusEquals") in (None, job.status)
        and params.get("WarmPoolStatusEquals") in (None, job.pool.status if job.pool is not None else "")
        and _within(job.created_at, params.get("CreationTimeAfter"), params.get("CreationTimeBefore"))
        and _within(job.modified_at, params.get("LastModifiedTimeAfter"), params.get("LastModifiedTimeBefore"))
    ]


def _within(time: datetime, after: float | None, before: float | None) -> bool:
    seconds = time.replace(tzinfo=UTC).timestamp()
    return (after is None or seconds > after) and (before is None or seconds < before)
