"""SageMaker's calls for hyper-parameter tuning jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud.aws.error_responses import ApiError
from localcloud.aws.wsgi import Params
from localcloud.sagemaker import paging, roles
from localcloud.sagemaker.dispatch import Call, Handler
from localcloud.sagemaker.training import rules as training_rules
from localcloud.sagemaker.tuning import rules
from localcloud.sagemaker.tuning.controller import TuningController, child_request
from localcloud.sagemaker.tuning.record import Child, TuningJob

_SORT = {"Name": "name", "Status": "status", "CreationTime": "created_at"}


class TuningApi:
    """Tuning jobs of all regions. moto keeps their tags."""

    def __init__(self, controller: TuningController) -> None:
        self._controller = controller
        self._tunings: dict[tuple[str, str], TuningJob] = {}

    @property
    def jobs(self) -> list[TuningJob]:
        """Tuning jobs, those that have ended included."""
        return list(self._tunings.values())

    @property
    def actions(self) -> Mapping[str, Handler]:
        """Handlers by action."""
        return {
            "CreateHyperParameterTuningJob": self.create,
            "DescribeHyperParameterTuningJob": self.describe,
            "ListHyperParameterTuningJobs": self.list,
            "ListTrainingJobsForHyperParameterTuningJob": self.list_children,
            "StopHyperParameterTuningJob": self.stop,
        }

    def create(self, call: Call) -> dict[str, Any]:
        """Answer CreateHyperParameterTuningJob."""
        rules.check(call.params)
        environment = self._controller.environment
        with environment.lock:
            tuning = TuningJob(call.params, call.region, environment.clock.utc())
            # What every child would be refused for is refused now.
            training_rules.check(child_request(tuning, tuning.name, {}))
            roles.check(call.params["TrainingJobDefinition"]["RoleArn"])
            if (call.region, tuning.name) in self._tunings:
                message = (
                    "Hyperparameter tuning job names must be unique within an AWS account and region, and a "
                    f"hyperparameter tuning job with this name already exists ({tuning.arn})"
                )
                raise ApiError("ResourceInUse", message)
            call.forward()
            self._tunings[call.region, tuning.name] = tuning
            self._controller.begin(tuning)
        return {"HyperParameterTuningJobArn": tuning.arn}

    def describe(self, call: Call) -> dict[str, Any]:
        """Answer DescribeHyperParameterTuningJob."""
        with self._controller.environment.lock:
            return self._named(call).describe()

    def list(self, call: Call) -> dict[str, Any]:
        """Answer ListHyperParameterTuningJobs."""
        params = call.params
        with self._controller.environment.lock:
            tunings = [
                tuning
                for (region, name), tuning in self._tunings.items()
                if region == call.region
                and params.get("NameContains", "").lower() in name.lower()
                and params.get("StatusEquals") in (None, tuning.status)
            ]
            attribute = _SORT[params.get("SortBy", "CreationTime")]
            tunings.sort(key=lambda tuning: getattr(tuning, attribute), reverse=_descends(params, attribute))
            summaries = [tuning.summary() for tuning in tunings]
        return paging.page(summaries, params, "HyperParameterTuningJobSummaries")

    def list_children(self, call: Call) -> dict[str, Any]:
        """Answer ListTrainingJobsForHyperParameterTuningJob."""
        with self._controller.environment.lock:
            tuning = self._named(call)
            status = call.params.get("StatusEquals")
            children = [child for child in tuning.children if status in (None, child.job.status)]
            summaries = [tuning.summary_of(child) for child in _sorted(tuning, children, call.params)]
        return paging.page(summaries, call.params, "TrainingJobSummaries")

    def stop(self, call: Call) -> dict[str, Any]:
        """Answer StopHyperParameterTuningJob."""
        tuning = self._named(call)
        with self._controller.environment.lock:
            if tuning.has_ended:
                message = f"The request was rejected because the tuning job is in status {tuning.status}"
                raise ApiError("ValidationException", message)
            self._controller.stop(tuning)
        return {}

    def _named(self, call: Call) -> TuningJob:
        tuning = self._tunings.get((call.region, call.params["HyperParameterTuningJobName"]))
        if tuning is None:
            raise ApiError("ResourceNotFound", "Requested resource not found.")
        return tuning


def _sorted(tuning: TuningJob, children: list[Child], params: Params) -> list[Child]:
    attribute = params.get("SortBy", "Name")
    if attribute == "FinalObjectiveMetricValue":
        # Jobs without a value come last in either order, and are not returned by AWS.
        children = [child for child in children if tuning.value_of(child) is not None]
        return sorted(children, key=lambda child: tuning.value_of(child) or 0.0, reverse=_descends(params, "value"))
    name = _SORT[attribute]
    return sorted(children, key=lambda child: getattr(child.job, name), reverse=_descends(params, "name"))


def _descends(params: Params, attribute: str) -> bool:
    return bool(params.get("SortOrder", "Descending" if attribute == "created_at" else "Ascending") == "Descending")
