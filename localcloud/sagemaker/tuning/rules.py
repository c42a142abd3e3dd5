"""Rules of CreateHyperParameterTuningJob that the service model does not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from localcloud.aws.error_responses import ApiError
from localcloud.aws.wsgi import Params
from localcloud.sagemaker.tuning import ranges
from localcloud.sagemaker.tuning.ranges import NumberRange, Range

# The service model's text of HyperbandStrategyConfig.
_EPOCHS = ("epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs")
_MAX_RESOURCE = 20_000


def check(params: Params) -> None:
    """Check a request that is valid by the service model.

    :raises ApiError: a combination that SageMaker refuses, or a member that this cloud has not.
    """
    if "TrainingJobDefinitions" in params or "WarmStartConfig" in params or "Autotune" in params:
        raise ApiError("NotImplemented", "This cloud has no TrainingJobDefinitions, WarmStartConfig and Autotune")
    config, definition = params["HyperParameterTuningJobConfig"], params.get("TrainingJobDefinition")
    if definition is None:
        raise ApiError("ValidationException", "TrainingJobDefinition is required.")
    try:
        tuned = ranges.read(config.get("ParameterRanges", {}))
    except ValueError as error:
        raise ApiError("ValidationException", f"Invalid hyperparameter range: {error}") from error
    message = (
        _ranges(tuned, definition.get("StaticHyperParameters", {}))
        or _objective(config, definition)
        or _strategy(config, definition.get("StaticHyperParameters", {}))
        or _limits(config, tuned)
    )
    if message:
        raise ApiError("ValidationException", message)


def _ranges(tuned: Sequence[Range], static: Mapping[str, str]) -> str:
    if not tuned:
        return "ParameterRanges must have at least one range."
    names = [item.name for item in tuned]
    if repeated := {name for name in names if names.count(name) > 1} | (static.keys() & set(names)):
        return f"Hyperparameter names must be unique; more than one value of: {', '.join(sorted(repeated))}"
    return next(filter(None, (_number(item) for item in tuned if isinstance(item, NumberRange))), "")


def _number(item: NumberRange) -> str:
    if item.low >= item.high:
        return f"The minimum of the range of {item.name} must be less than its maximum."
    if item.scaling == "Logarithmic" and item.low <= 0:
        return f"Logarithmic scaling requires a range of {item.name} that is greater than 0."
    if item.scaling == "ReverseLogarithmic" and not 0 <= item.low < item.high < 1:
        return f"ReverseLogarithmic scaling requires a range of {item.name} within 0 <= x < 1."
    return ""


def _objective(config: Mapping[str, Any], definition: Mapping[str, Any]) -> str:
    objective = config.get("HyperParameterTuningJobObjective")
    if objective is None:
        return "HyperParameterTuningJobObjective is required."
    metrics = [item["Name"] for item in definition["AlgorithmSpecification"].get("MetricDefinitions", [])]
    if objective["MetricName"] not in metrics:
        return f"The objective metric {objective['MetricName']} is not one of the MetricDefinitions: {metrics}"
    return ""


def _strategy(config: Mapping[str, Any], static: Mapping[str, str]) -> str:
    is_hyperband = config["Strategy"] == "Hyperband"
    if is_hyperband and config.get("TrainingJobEarlyStoppingType", "Off") != "Off":
        return "TrainingJobEarlyStoppingType must be Off for the Hyperband strategy."
    if "StrategyConfig" in config and not is_hyperband:
        return "StrategyConfig can only be used with the Hyperband strategy."
    return _resources(config, static) if is_hyperband else ""


def _resources(config: Mapping[str, Any], static: Mapping[str, str]) -> str:
    """Check what Hyperband counts; without MaxResource it is a hyper-parameter of a usual name."""
    resources = config.get("StrategyConfig", {}).get("HyperbandStrategyConfig", {})
    most = resources.get("MaxResource") or next(
        (int(text) for name in _EPOCHS if (text := static.get(name, "")).isdecimal()), None
    )
    if most is None:
        return (
            "Hyperband cannot infer MaxResource. Provide it in HyperbandStrategyConfig, or one of these static "
            f"hyperparameters: {', '.join(_EPOCHS)}."
        )
    if not resources.get("MinResource", 1) <= most <= _MAX_RESOURCE:
        return f"MaxResource must be between MinResource and {_MAX_RESOURCE}."
    return ""


def _limits(config: Mapping[str, Any], tuned: Sequence[Range]) -> str:
    limits = config["ResourceLimits"]
    count = limits.get("MaxNumberOfTrainingJobs")
    if config["Strategy"] == "Grid":
        if any(isinstance(item, NumberRange) for item in tuned):
            return "The Grid strategy supports categorical parameters only."
        size = len(ranges.grid(tuned))
        if count not in (None, size):
            return f"MaxNumberOfTrainingJobs must be equal to the number of combinations of the grid, {size}."
        return ""
    if count is None and "MaxRuntimeInSeconds" not in limits:
        return "ResourceLimits must have MaxNumberOfTrainingJobs or MaxRuntimeInSeconds."
    return ""
