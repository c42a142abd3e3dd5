"""Autoscaling of an endpoint's instances, by Application Auto Scaling.

https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-auto-scaling.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.aws import errors
from orchestrator.aws.sagemaker.hosting.requests import ASYNCHRONOUS, SERVERLESS, VARIANT
from orchestrator.core.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients

NAMESPACE, DIMENSION = "sagemaker", "sagemaker:variant:DesiredInstanceCount"
METRIC = "SageMakerVariantInvocationsPerInstance"
POLICY_NAME = "stratus"
BACKLOG_METRIC = "ApproximateBacklogSizePerInstance"


@dataclass(frozen=True)
class Scaling:
    """Bounds of the number of instances.

    :param target: requests per instance and minute that are aimed at; asynchronous: waiting requests per instance.
    """

    minimum: int
    maximum: int
    target: float


def check(scaling: Scaling, mode: str) -> None:
    """Check the bounds for a kind of endpoint.

    :raises UsageError: SageMaker would refuse them; the message has the rule.
    """
    if mode == SERVERLESS:
        raise UsageError("a serverless endpoint scales by itself: minimum and maximum are for instances")
    if scaling.minimum == 0 and mode != ASYNCHRONOUS:
        raise UsageError("minimum = 0: only an asynchronous endpoint of this kind can have no instances", fix="use 1")
    if not 0 <= scaling.minimum <= scaling.maximum:
        raise UsageError(f"minimum = {scaling.minimum}, maximum = {scaling.maximum}: the maximum is the larger one")
    if scaling.maximum < 1 or scaling.target <= 0:
        raise UsageError(f"maximum = {scaling.maximum}, target = {scaling.target:g}: both are above 0")


def put(clients: Clients, endpoint: str, scaling: Scaling, *, mode: str) -> None:
    """Scale an endpoint from now on.

    :raises StratusError: AWS refused, or does not answer.
    """
    client = clients.service("application-autoscaling")
    common = {"ServiceNamespace": NAMESPACE, "ResourceId": _resource_id(endpoint), "ScalableDimension": DIMENSION}
    with clients.translate_errors(f"scaling the endpoint {endpoint}"):
        client.register_scalable_target(**common, MinCapacity=scaling.minimum, MaxCapacity=scaling.maximum)
        client.put_scaling_policy(
            **common,
            PolicyName=POLICY_NAME,
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration=_tracking(endpoint, scaling, mode),
        )


def _tracking(endpoint: str, scaling: Scaling, mode: str) -> dict[str, object]:
    if mode != ASYNCHRONOUS:
        return {"TargetValue": scaling.target, "PredefinedMetricSpecification": {"PredefinedMetricType": METRIC}}
    metric = {
        "MetricName": BACKLOG_METRIC,
        "Namespace": "AWS/SageMaker",
        "Dimensions": [{"Name": "EndpointName", "Value": endpoint}],
        "Statistic": "Average",
    }
    return {"TargetValue": scaling.target, "CustomizedMetricSpecification": metric}


def find(clients: Clients, endpoint: str) -> tuple[int, int] | None:
    """Return minimum and maximum of an endpoint's instances; None if it does not scale.

    :raises StratusError: AWS refused, or does not answer.
    """
    with clients.translate_errors(f"looking up the scaling of {endpoint}"):
        response = clients.service("application-autoscaling").describe_scalable_targets(
            ServiceNamespace=NAMESPACE, ResourceIds=[_resource_id(endpoint)]
        )
    targets = response["ScalableTargets"]
    return (targets[0]["MinCapacity"], targets[0]["MaxCapacity"]) if targets else None


def remove(clients: Clients, endpoint: str) -> bool:
    """Stop scaling an endpoint; return True if it was scaled.

    :raises StratusError: AWS refused, or does not answer.
    """
    with clients.translate_errors(f"ending the scaling of {endpoint}"):
        try:
            clients.service("application-autoscaling").deregister_scalable_target(
                ServiceNamespace=NAMESPACE, ResourceId=_resource_id(endpoint), ScalableDimension=DIMENSION
            )
        except errors.error_types() as error:
            if errors.code_of(error) not in ("ObjectNotFoundException", "ValidationException"):
                raise
            return False
    return True


def _resource_id(endpoint: str) -> str:
    return f"endpoint/{endpoint}/variant/{VARIANT}"
