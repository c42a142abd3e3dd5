"""Autoscaling of an endpoint's instances, by Application Auto Scaling.

https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-auto-scaling.html, and for asynchronous endpoints, whose
instances may all end, https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-autoscale.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.aws import errors
from orchestrator.aws.sagemaker.hosting.requests import ASYNCHRONOUS, SERVERLESS, VARIANT
from orchestrator.core.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients

NAMESPACE, DIMENSION = "sagemaker", "sagemaker:variant:DesiredInstanceCount"
METRIC = "SageMakerVariantInvocationsPerInstance"
POLICY_NAME, START_POLICY_NAME = "stratus", "stratus-start"
BACKLOG_METRIC, WAITING_METRIC = "ApproximateBacklogSizePerInstance", "HasBacklogWithoutCapacity"


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
        raise UsageError(
            "minimum = 0: a real-time endpoint keeps an instance; only inference components, which Stratus does not "
            "create, scale to 0",
            fix="use minimum=1, or deploy with mode='serverless', which costs nothing when idle; mode='asynchronous' "
            "costs nothing when idle only after a ScaleEndpoint with minimum=0",
        )
    mistakes = [
        f"minimum = {scaling.minimum} is below 0" if scaling.minimum < 0 else "",
        f"maximum = {scaling.maximum} is below 1" if scaling.maximum < 1 else "",
        f"minimum = {scaling.minimum} is above maximum = {scaling.maximum}"
        if scaling.minimum > scaling.maximum >= 1
        else "",
        # Also if it is not a number.
        f"target = {scaling.target:g} is not above 0" if not 0 < scaling.target < float("inf") else "",
    ]
    if any(mistakes):
        raise UsageError("; ".join(filter(None, mistakes)))


def put(clients: Clients, endpoint: str, scaling: Scaling, *, mode: str) -> None:
    """Scale an endpoint from now on.

    :raises StratusError: AWS refused, or does not answer.
    """
    client = clients.service("application-autoscaling")
    common = _target(endpoint)
    with clients.translate_errors(f"scaling the endpoint {endpoint}"):
        client.register_scalable_target(**common, MinCapacity=scaling.minimum, MaxCapacity=scaling.maximum)
        client.put_scaling_policy(
            **common,
            PolicyName=POLICY_NAME,
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration=_tracking(endpoint, scaling, mode),
        )
    if mode == ASYNCHRONOUS and scaling.minimum == 0:
        _start_from_zero(clients, endpoint)


def _start_from_zero(clients: Clients, endpoint: str) -> None:
    """Start an instance for the first request that waits.

    Without it AWS starts one only when more requests wait than the target of the other policy.
    """
    step = {"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}
    with clients.translate_errors(f"scaling the endpoint {endpoint}"):
        policy = clients.service("application-autoscaling").put_scaling_policy(
            **_target(endpoint),
            PolicyName=START_POLICY_NAME,
            PolicyType="StepScaling",
            StepScalingPolicyConfiguration={"AdjustmentType": "ChangeInCapacity", "StepAdjustments": [step]},
        )
        clients.service("cloudwatch").put_metric_alarm(
            AlarmName=_alarm(endpoint),
            Namespace="AWS/SageMaker",
            MetricName=WAITING_METRIC,
            Dimensions=[{"Name": "EndpointName", "Value": endpoint}],
            Statistic="Average",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1.0,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            TreatMissingData="missing",
            AlarmActions=[policy["PolicyARN"]],
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
            clients.service("application-autoscaling").deregister_scalable_target(**_target(endpoint))
        except errors.error_types() as error:
            if errors.code_of(error) not in ("ObjectNotFoundException", "ValidationException"):
                raise
            return False
    return True


def remove_alarm(clients: Clients, endpoint: str) -> None:
    """Delete the alarm of an asynchronous endpoint that scales to 0; one that does not exist is no error.

    :raises StratusError: AWS refused, or does not answer.
    """
    with clients.translate_errors(f"deleting the alarm of {endpoint}"):
        clients.service("cloudwatch").delete_alarms(AlarmNames=[_alarm(endpoint)])


def _alarm(endpoint: str) -> str:
    return f"{endpoint}-waiting"


def _target(endpoint: str) -> dict[str, Any]:
    return {"ServiceNamespace": NAMESPACE, "ResourceId": _resource_id(endpoint), "ScalableDimension": DIMENSION}


def _resource_id(endpoint: str) -> str:
    return f"endpoint/{endpoint}/variant/{VARIANT}"
