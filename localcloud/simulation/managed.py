"""Billing resources of a simulated cloud's SageMaker: jobs, warm pools and endpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from localcloud.aws.ecr import ACCOUNT

if TYPE_CHECKING:
    from localcloud.sagemaker.training.record import TrainingJob


@dataclass(frozen=True)
class LiveManaged:
    """Something of SageMaker that costs money.

    :param kind: ``training job``, ``warm pool`` or ``endpoint``.
    """

    kind: str
    name: str
    tags: Mapping[str, str]


def live(jobs: list[TrainingJob]) -> list[LiveManaged]:
    """Return what bills now, in the order of creation.

    :param jobs: all training jobs of the cloud, those of tuning jobs included.
    """
    return [*_live_jobs(jobs), *_endpoints()]


def _live_jobs(jobs: list[TrainingJob]) -> Iterator[LiveManaged]:
    for job in jobs:
        tags = _tags(job.request.get("Tags", []))
        if not job.has_ended:
            yield LiveManaged("training job", job.name, tags)
        elif job.pool is not None and job.pool.status == "Available":
            yield LiveManaged("warm pool", job.name, tags)


def _endpoints() -> Iterator[LiveManaged]:
    from moto.sagemaker.models import sagemaker_backends

    for region in list(sagemaker_backends[ACCOUNT]):
        for endpoint in sagemaker_backends[ACCOUNT][region].endpoints.values():
            yield LiveManaged("endpoint", endpoint.endpoint_name, _tags(endpoint.tags))


def _tags(tags: list[dict[str, Any]]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}
