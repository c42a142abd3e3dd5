"""Life of tuning jobs: children are started as others end, up to the limits."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from localcloud.aws.error_responses import ApiError
from localcloud.ec2.environment import CloudEnvironment
from localcloud.sagemaker.training.api import TrainingApi
from localcloud.sagemaker.training.record import TrainingJob
from localcloud.sagemaker.tuning import ranges
from localcloud.sagemaker.tuning.ranges import Values
from localcloud.sagemaker.tuning.record import Child, TuningJob

_PASSED_ON = (
    "RoleArn",
    "InputDataConfig",
    "VpcConfig",
    "OutputDataConfig",
    "StoppingCondition",
    "EnableNetworkIsolation",
    "EnableInterContainerTrafficEncryption",
    "EnableManagedSpotTraining",
    "RetryStrategy",
    "Environment",
)
# AWS gives up on a metric that none of so many children wrote.
_WITHOUT_METRIC = 5
_NO_METRIC = (
    "No objective metrics found after running {count} training jobs. Please ensure that the custom algorithm is "
    "emitting the objective metric as defined by the regular expression provided."
)
_ALL_FAILED = "All training jobs failed. Please take a look at the training jobs failures to get more details."


class TuningController:
    """Starts the children of all tuning jobs.

    :param training: checks and runs them.
    """

    def __init__(self, training: TrainingApi) -> None:
        self.training = training
        self.environment: CloudEnvironment = training.lifecycle.environment
        self._tunings: dict[str, tuple[TuningJob, Iterator[Values], random.Random]] = {}
        training.lifecycle.on_end.append(self._on_end)

    def begin(self, tuning: TuningJob) -> None:
        """Start a tuning job; the caller holds the cloud's lock."""
        source = random.Random(tuning.config.get("RandomSeed", tuning.name))
        tuned = ranges.read(tuning.config["ParameterRanges"])
        self._tunings[tuning.arn] = tuning, ranges.candidates(tuning.config["Strategy"], tuned, source), source
        if longest_s := tuning.config["ResourceLimits"].get("MaxRuntimeInSeconds"):
            self.environment.clock.after(longest_s, lambda: self.stop(tuning))
        self._advance(tuning)

    def stop(self, tuning: TuningJob) -> None:
        """Stop a tuning job with its children."""
        with self.environment.lock:
            if tuning.status != "InProgress":
                return
            self._set_status(tuning, "Stopping")
            self._stop_children(tuning)
            self._advance(tuning)

    def _stop_children(self, tuning: TuningJob) -> None:
        for job in tuning.running:
            self.training.lifecycle.stop(job)

    def _on_end(self, job: TrainingJob) -> None:
        if job.tuning_arn in self._tunings:
            self._advance(self._tunings[job.tuning_arn][0])

    def _advance(self, tuning: TuningJob) -> None:
        """Start as many children as the limits allow, or end the tuning job."""
        reached = self._has_reached_target(tuning)
        if reached:
            self._stop_children(tuning)
        refusal = ""
        if tuning.status == "InProgress" and not reached:
            self._set_failure(tuning)
            refusal = self._fill(tuning)
        if tuning.running or tuning.has_ended:
            return
        if tuning.status == "Stopping":
            self._end(tuning, "Stopped")
        elif refusal:
            self._end(tuning, "Failed", refusal)
        elif tuning.failure or tuning.best() is None:
            self._end(tuning, "Failed", tuning.failure or _ALL_FAILED)
        else:
            self._end(tuning, "Completed")

    def _has_reached_target(self, tuning: TuningJob) -> bool:
        target = tuning.config.get("TuningJobCompletionCriteria", {}).get("TargetObjectiveMetricValue")
        best = tuning.best()
        if target is None or best is None:
            return False
        value = tuning.value_of(best) or 0.0
        return bool(value >= target if tuning.objective["Type"] == "Maximize" else value <= target)

    def _set_failure(self, tuning: TuningJob) -> None:
        """Give up on a metric that no child wrote."""
        completed = [child for child in tuning.children if child.job.status == "Completed"]
        if len(completed) >= _WITHOUT_METRIC and all(tuning.value_of(child) is None for child in completed):
            tuning.failure = _NO_METRIC.format(count=len(completed))
            self._stop_children(tuning)

    def _fill(self, tuning: TuningJob) -> str:
        """Start children; return the reason if one was refused."""
        limits = tuning.config["ResourceLimits"]
        _, values, source = self._tunings[tuning.arn]
        most = limits.get("MaxNumberOfTrainingJobs", float("inf"))
        while not tuning.failure and len(tuning.running) < limits["MaxParallelTrainingJobs"]:
            chosen = next(values, None) if len(tuning.children) < most else None
            if chosen is None:
                return ""
            try:
                self._start(tuning, chosen, f"{source.getrandbits(32):08x}")
            except ApiError as error:
                return f"{error.code}: {error.message}"
        return ""

    def _start(self, tuning: TuningJob, values: Values, suffix: str) -> None:
        name = f"{tuning.name}-{len(tuning.children) + 1:03d}-{suffix}"
        job = TrainingJob(child_request(tuning, name, values), tuning.region, self.environment.clock.utc(), tuning.arn)
        self.training.check(job)
        # Before it is started: in virtual time, a job may end while it starts.
        tuning.children.append(Child(job, values))
        self.training.add(job)

    def _set_status(self, tuning: TuningJob, status: str) -> None:
        tuning.status, tuning.modified_at = status, self.environment.clock.utc()

    def _end(self, tuning: TuningJob, status: str, failure: str = "") -> None:
        self._set_status(tuning, status)
        tuning.ended_at, tuning.failure = tuning.modified_at, failure


def child_request(tuning: TuningJob, name: str, values: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters of CreateTrainingJob for a child."""
    definition = tuning.request["TrainingJobDefinition"]
    tuned = {**values, "_tuning_objective_metric": tuning.objective["MetricName"]}
    resources = definition.get("ResourceConfig") or _resources(definition.get("HyperParameterTuningResourceConfig", {}))
    request = {
        "TrainingJobName": name,
        "HyperParameters": {**definition.get("StaticHyperParameters", {}), **tuned},
        "AlgorithmSpecification": dict(definition["AlgorithmSpecification"]),
        "ResourceConfig": dict(resources),
        "Tags": tuning.request.get("Tags", []),
        **{member: definition[member] for member in _PASSED_ON if member in definition},
    }
    if checkpoints := definition.get("CheckpointConfig"):
        # Children must not continue from each other's checkpoints.
        request["CheckpointConfig"] = {**checkpoints, "S3Uri": f"{checkpoints['S3Uri'].rstrip('/')}/{name}"}
    return request


def _resources(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in config.items() if name in ("InstanceType", "InstanceCount", "VolumeSizeInGB")
    }
