"""Application Auto Scaling of endpoints: instances follow the metric of a target-tracking policy, or an alarm.

Targets, policies and alarms are moto's records. Once a minute of the cloud (one second, if times are short) every
target is compared with its metric; AWS does the same by alarms of CloudWatch.
https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from localcloud.aws.ecr import ACCOUNT
from localcloud.aws.error_responses import ApiError
from localcloud.aws.wsgi import ACTION, REGION, SERVICE, Application, Environ, Params, StartResponse
from localcloud.sagemaker.hosting.async_queue import AsyncQueue
from localcloud.sagemaker.hosting.endpoints import Endpoint, EndpointApi

DIMENSION = "sagemaker:variant:DesiredInstanceCount"
# Minutes for which a metric is above, or well below, its target before AWS scales: the alarms that it creates.
OUT_MINUTES, IN_MINUTES = 3, 15
# Below this part of the target instances are removed.
_LOW = 0.9
_COOLDOWN_S = 300.0
_BACKLOG, _WITHOUT_CAPACITY = "ApproximateBacklogSizePerInstance", "HasBacklogWithoutCapacity"

_log = logging.getLogger(__name__)


@dataclass
class _History:
    """Minutes of one target so far.

    :param scaled_at: time of the last change on the cloud's clock.
    """

    high: int = 0
    low: int = 0
    scaled_at: float = float("-inf")


class Autoscaling:
    """Scales the endpoints of one cloud."""

    def __init__(self, endpoints: EndpointApi, queue: AsyncQueue) -> None:
        self.endpoints, self.queue = endpoints, queue
        self.environment = endpoints.environment
        self.minute_s = self.environment.durations.minute_s
        self._histories: dict[tuple[str, str], _History] = {}
        self._is_ticking = False

    def serve(self, inner: Application, permit: Callable[[Environ, str, str], None]) -> Application:
        """Check calls of Application Auto Scaling for SageMaker, and pass all calls on.

        :param permit: raises an ApiError if policies deny the caller an action on a resource.
        """

        def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            if environ[SERVICE] != "application-autoscaling":
                return inner(environ, start_response)
            permit(environ, f"application-autoscaling:{environ[ACTION]}", "*")
            params = json.loads(environ["wsgi.input"].getvalue() or b"{}")
            if params.get("ServiceNamespace") != "sagemaker":
                return inner(environ, start_response)
            with self.environment.lock:
                self._check(environ[ACTION], environ[REGION], params)
                response = list(inner(environ, start_response))
                self._note(environ[ACTION], environ[REGION], params)
            return response

        return application

    def _check(self, action: str, region: str, params: Params) -> None:
        if action == "RegisterScalableTarget":
            endpoint, variant = self._variant(region, params["ResourceId"])
            least = params.get("MinCapacity", 1)
            if endpoint.fleet[variant].is_serverless:
                raise _refused("Serverless variants have no instances that could be scaled.")
            if least == 0 and not endpoint.is_async:
                raise _refused("MinCapacity 0 is supported for asynchronous inference and inference components only.")
            if least > params.get("MaxCapacity", least):
                raise _refused("Maximum capacity cannot be less than minimum capacity")
        if action == "PutScalingPolicy" and params["ResourceId"] not in _targets(region):
            raise ApiError(
                "ObjectNotFoundException",
                "No scalable target registered for service namespace: sagemaker, "
                f"resource ID: {params['ResourceId']}, scalable dimension: {DIMENSION}",
            )

    def _variant(self, region: str, resource_id: str) -> tuple[Endpoint, str]:
        _, name, _, variant, *_ = [*resource_id.split("/"), "", "", ""]
        endpoint = self.endpoints.endpoints.find(region, name)
        if endpoint is None or endpoint.status == "Deleting" or variant not in endpoint.fleet:
            raise _refused(f"SageMaker production variant doesn't exist: {resource_id}")
        return endpoint, variant

    def _note(self, action: str, region: str, params: Params) -> None:
        if action == "DeregisterScalableTarget" and params["ResourceId"] not in _targets(region):
            # With its target a policy is deleted.
            policies = _backend(region).policies
            for key in [key for key, policy in policies.items() if policy.resource_id == params["ResourceId"]]:
                del policies[key]
            self._histories.pop((region, params["ResourceId"]), None)
        elif action == "RegisterScalableTarget" and not self._is_ticking:
            self._is_ticking = True
            self.environment.clock.after(self.minute_s, self._tick)

    def is_scaled(self, endpoint: Endpoint) -> bool:
        """Return True for an endpoint one of whose variants is a scalable target."""
        return any(name.split("/")[1].lower() == endpoint.name.lower() for name in _targets(endpoint.region))

    def _tick(self) -> None:
        with self.environment.lock:
            targets = [(region, *item) for region in _regions() for item in _targets(region).items()]
            self._is_ticking = bool(targets)
        for region, resource_id, target in targets:
            try:
                self._scale(region, resource_id, target)
            # A quota that is used up, or an endpoint that was deleted: AWS records it and tries again.
            except ApiError as error:
                _log.info("scaling of %s: %s", resource_id, error.message)
            except Exception:
                _log.exception("scaling of %s", resource_id)
        if self._is_ticking:
            self.environment.clock.after(self.minute_s, self._tick)

    def _scale(self, region: str, resource_id: str, target: Any) -> None:
        endpoint, variant = self._variant(region, resource_id)
        history = self._histories.setdefault((region, resource_id), _History())
        count = endpoint.fleet[variant].count
        answers = [self._wanted(policy, endpoint, variant, history) for policy in _policies(region, resource_id)]
        wanted = [answer for answer in answers if answer is not None]
        # Of several policies the one with the most instances counts.
        aim = min(max(max(wanted, default=count), target.min_capacity), target.max_capacity)
        if aim != count and self.endpoints.resize(endpoint, {variant: aim}):
            history.high = history.low = 0
            history.scaled_at = self.environment.clock.now()

    def _wanted(self, policy: Any, endpoint: Endpoint, variant: str, history: _History) -> int | None:
        """Return the instances that a policy asks for now; None if it asks for none."""
        count = endpoint.fleet[variant].count
        tracking = policy.target_tracking_scaling_policy_configuration
        if tracking is None:
            return count + self._step(policy) if self._is_without_capacity(policy, endpoint) else None
        value, aim = self._metric(tracking, endpoint, variant), float(tracking["TargetValue"])
        history.high = history.high + 1 if value > aim else 0
        history.low = history.low + 1 if value < aim * _LOW else 0
        wanted = math.ceil(max(count, 1) * value / aim)
        since = (self.environment.clock.now() - history.scaled_at) / self.minute_s * 60
        if history.high >= OUT_MINUTES and since >= tracking.get("ScaleOutCooldown", _COOLDOWN_S):
            return max(wanted, count + 1)
        if history.low >= IN_MINUTES and since >= tracking.get("ScaleInCooldown", _COOLDOWN_S):
            return count if tracking.get("DisableScaleIn") else min(wanted, count)
        return count

    def _metric(self, tracking: Params, endpoint: Endpoint, variant: str) -> float:
        """Return requests per instance in the last minute, or waiting requests per instance."""
        count = max(endpoint.fleet[variant].count, 1)
        custom = tracking.get("CustomizedMetricSpecification", {})
        if custom.get("MetricName") == _BACKLOG:
            return self.queue.backlog(endpoint) / count
        since = self.environment.clock.now() - self.minute_s
        return sum(at >= since and name == variant for at, name in list(endpoint.invocations)) / count

    def _is_without_capacity(self, policy: Any, endpoint: Endpoint) -> bool:
        """Return True if requests wait, there are no instances, and an alarm on that asks for this policy."""
        waits = self.queue.backlog(endpoint) > 0 and not any(part.count for part in endpoint.fleet.values())
        return waits and any(
            alarm.metric_name == _WITHOUT_CAPACITY and policy.policy_arn in alarm.alarm_actions
            for alarm in _alarms(endpoint.region)
        )

    @staticmethod
    def _step(policy: Any) -> int:
        steps = (policy.step_scaling_policy_configuration or {}).get("StepAdjustments", [])
        return max((int(step["ScalingAdjustment"]) for step in steps), default=0)


def _refused(message: str) -> ApiError:
    return ApiError("ValidationException", message)


def _backend(region: str) -> Any:
    from moto.applicationautoscaling.models import applicationautoscaling_backends

    return applicationautoscaling_backends[ACCOUNT][region]


def _regions() -> list[str]:
    from moto.applicationautoscaling.models import applicationautoscaling_backends

    return list(applicationautoscaling_backends[ACCOUNT])


def _targets(region: str) -> dict[str, Any]:
    """Return moto's scalable targets of SageMaker by their resource's id."""
    return dict(_backend(region).targets.get(DIMENSION, {}))


def _policies(region: str, resource_id: str) -> list[Any]:
    return [policy for policy in _backend(region).policies.values() if policy.resource_id == resource_id]


def _alarms(region: str) -> Iterator[Any]:
    from moto.cloudwatch.models import cloudwatch_backends

    yield from cloudwatch_backends[ACCOUNT][region].alarms.values()
