"""Rules of CreateTrainingJob that the service model does not have: members that exclude or need each other."""

from __future__ import annotations

from typing import Any

from localcloud.aws.error_responses import ApiError
from localcloud.aws.wsgi import Params
from localcloud.sagemaker.runs.layout import CHECKPOINTS, ML


def check(params: Params) -> None:
    """Check a request that is valid by the service model.

    :raises ApiError: a combination that SageMaker refuses.
    """
    for rule in (_algorithm, _resources, _stopping_condition, _channels):
        if message := rule(params):
            raise ApiError("ValidationException", message)
    if message := _missing_here(params):
        raise ApiError("NotImplemented", message)


def _algorithm(params: Params) -> str:
    algorithm = params.get("AlgorithmSpecification")
    if algorithm is None:
        return "AlgorithmSpecification is required."
    if ("TrainingImage" in algorithm) == ("AlgorithmName" in algorithm):
        return "Must specify exactly one of TrainingImage or AlgorithmName."
    return ""


def _resources(params: Params) -> str:
    resources = params.get("ResourceConfig")
    if resources is None:
        return "ResourceConfig is required."
    homogeneous = {"InstanceType", "InstanceCount"} & resources.keys()
    if resources.get("InstanceGroups") and homogeneous:
        return "InstanceGroups cannot be used together with InstanceType or InstanceCount."
    if not resources.get("InstanceGroups") and len(homogeneous) < 2 and not resources.get("InstancePreferences"):
        return "ResourceConfig must have InstanceType and InstanceCount, or InstanceGroups."
    if resources.get("KeepAlivePeriodInSeconds") and params.get("EnableManagedSpotTraining"):
        return "KeepAlivePeriodInSeconds cannot be used with managed spot training."
    return ""


def _stopping_condition(params: Params) -> str:
    condition: dict[str, Any] = params.get("StoppingCondition", {})
    longest_s, wait_s = condition.get("MaxRuntimeInSeconds", 86400), condition.get("MaxWaitTimeInSeconds")
    if not params.get("EnableManagedSpotTraining"):
        return "MaxWaitTimeInSeconds can only be set if EnableManagedSpotTraining is true." if wait_s else ""
    if wait_s is None:
        return "MaxWaitTimeInSeconds must be set if EnableManagedSpotTraining is true."
    if wait_s < longest_s:
        return "Invalid MaxWaitTimeInSeconds. It must be greater than or equal to MaxRuntimeInSeconds"
    return ""


def _channels(params: Params) -> str:
    names = [channel["ChannelName"] for channel in params.get("InputDataConfig", [])]
    if len(set(names)) < len(names):
        return "Duplicate channel names are not allowed."
    for channel in params.get("InputDataConfig", []):
        if "FileSystemDataSource" in channel["DataSource"] and not params.get("VpcConfig"):
            return "VpcConfig is required when a channel has a FileSystemDataSource."
    return ""


def _missing_here(params: Params) -> str:
    """Return what SageMaker has and this cloud has not; empty if the request needs none of it."""
    for channel in params.get("InputDataConfig", []):
        if channel["DataSource"].get("S3DataSource", {}).get("S3DataType") == "AugmentedManifestFile":
            return "This cloud reads no augmented manifests"
    path = params.get("CheckpointConfig", {}).get("LocalPath", CHECKPOINTS)
    if not path.startswith(f"{ML}/"):
        return f"In this cloud, checkpoints are below {ML}"
    if params["ResourceConfig"].get("InstancePreferences"):
        return "This cloud has no InstancePreferences"
    return ""
