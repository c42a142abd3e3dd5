"""Billing resources of a simulated cloud's SageMaker: jobs, warm pools and endpoints; schedules of their ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from localcloud.aws.ecr import ACCOUNT

if TYPE_CHECKING:
    from localcloud.assembly.sagemaker import SageMakerParts
    from localcloud.sagemaker.training.record import TrainingJob


@dataclass(frozen=True)
class LiveManaged:
    """Something of SageMaker that costs money.

    :param kind: ``training job``, ``tuning job``, ``warm pool``, ``endpoint`` or ``transform job``.
    """

    kind: str
    name: str
    tags: Mapping[str, str]


def live(parts: SageMakerParts) -> list[LiveManaged]:
    """Return what bills now, in the order of creation; children of tuning jobs are listed as training jobs, too."""
    tuning = [
        LiveManaged("tuning job", job.name, _tags(job.request.get("Tags", [])))
        for job in parts.tuning.jobs
        if not job.has_ended
    ]
    hosted = parts.hosting.endpoints.endpoints.all()
    endpoints = [LiveManaged("endpoint", item.name, dict(item.tags)) for item in hosted if item.status != "Deleting"]
    transforms = [
        LiveManaged("transform job", job.name, dict(job.tags))
        for job in parts.hosting.transforms.jobs.all()
        if job.ended_at is None
    ]
    return [*_live_jobs(parts.training.jobs.values()), *tuning, *endpoints, *transforms]


def _live_jobs(jobs: Iterable[TrainingJob]) -> Iterator[LiveManaged]:
    for job in jobs:
        tags = _tags(job.request.get("Tags", []))
        if not job.has_ended:
            yield LiveManaged("training job", job.name, tags)
        elif job.pool is not None and job.pool.status == "Available":
            yield LiveManaged("warm pool", job.name, tags)


def schedules() -> list[str]:
    """Return the names of all schedules."""
    from moto.scheduler.models import scheduler_backends

    backends = scheduler_backends[ACCOUNT]
    groups = [group for region in list(backends) for group in backends[region].schedule_groups.values()]
    return [name for group in groups for name in group.schedules]


def _tags(tags: list[dict[str, Any]]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}
