"""Uses of SageMaker's instances, which differ in their types, prices and quotas."""

from __future__ import annotations

import difflib
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

from orchestrator.config import aws_catalog
from orchestrator.core.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients


class Use(StrEnum):
    """Use of an instance; the value is the ``component`` of the Price List API."""

    TRAINING = "Training"
    HOSTING = "Hosting"
    TRANSFORM = "Transform"


# Shapes of botocore's service model whose enumerations list the types of a use.
_SHAPES = {
    Use.TRAINING: "TrainingInstanceType",
    Use.HOSTING: "ProductionVariantInstanceType",
    Use.TRANSFORM: "TransformInstanceType",
}

#: Types that SageMaker's service model still lists and regions no longer offer -> nearest available type.
RETIRED_TYPES = {
    **{f"ml.{retired}": f"ml.{living}" for retired, living in aws_catalog.RETIRED_TYPES.items()},
    **{f"ml.m4.{size}": f"ml.m5.{size}" for size in ("xlarge", "2xlarge", "4xlarge")},
    "ml.m4.10xlarge": "ml.m5.12xlarge",
    "ml.m4.16xlarge": "ml.m5.24xlarge",
    **{f"ml.c4.{size}": f"ml.c5.{size}" for size in ("large", "xlarge", "2xlarge", "4xlarge")},
    "ml.c4.8xlarge": "ml.c5.9xlarge",
}
_SMALLEST_TRAINING = {"ml.c5.large": "ml.c5.xlarge"}


def check_instance_type(clients: Clients, instance_type: str, use: Use) -> None:
    """Check that an instance type exists for a use, by the service model of the installed botocore.

    :raises UsageError: it does not; the fix names the nearest type.
    """
    if instance_type in ("local", "local_gpu"):
        fix = "stratus --local  opens the shell on the embedded cloud: no account, no cost"
        raise UsageError(f"{instance_type} is a type of SageMaker's SDK; here a whole cloud is local", fix=fix)
    known = _known_types(clients, use)
    if (successor := _successor(instance_type, known)) != "":
        raise UsageError(f"{instance_type} is retired: {successor} is its nearest successor", fix=f"use {successor}")
    if instance_type in known:
        return
    if f"ml.{instance_type}" in known:
        raise UsageError(
            f"{instance_type} is a type of EC2; SageMaker's types begin with ml.", fix=f"use ml.{instance_type}"
        )
    raise UsageError(f"{instance_type} is not an instance type for {use.lower()}", fix=_nearest(instance_type, known))


def _successor(instance_type: str, known: frozenset[str]) -> str:
    successor = RETIRED_TYPES.get(instance_type, "")
    return _SMALLEST_TRAINING.get(successor, successor) if successor not in known else successor


def _nearest(instance_type: str, known: frozenset[str]) -> str:
    close = difflib.get_close_matches(instance_type, known, n=3, cutoff=0.75)
    # The model of the installed botocore ends with its release; SageMaker may have more types.
    newer = "a newer type needs a newer boto3: pip install -U boto3"
    return f"use {' or '.join(close)}; {newer}" if close else newer


def _known_types(clients: Clients, use: Use) -> frozenset[str]:
    return _enumeration(clients.service("sagemaker").meta.service_model, _SHAPES[use])


@cache
def _enumeration(service_model: Any, shape: str) -> frozenset[str]:
    return frozenset(service_model.shape_for(shape).enum)
