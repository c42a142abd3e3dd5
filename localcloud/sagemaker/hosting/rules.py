"""Rules of hosting that the service model does not have: types without capacity, serverless limits, exclusions."""

from __future__ import annotations

import re
from typing import Any

from localcloud.aws.error_responses import ApiError
from localcloud.aws.wsgi import Params

MEMORY_STEP_MB = 1024
MAX_TRANSFORM_MB = 100
# Still in the service model, but no region has a price for them.
_RETIRED = re.compile(r"ml\.p[23]\.")


def check_instance_type(instance_type: str) -> None:
    """Check that a type of the service model can still be had.

    :raises ApiError: it is retired.
    """
    if _RETIRED.match(instance_type):
        raise _refused(f"The instance type {instance_type} is not supported in this region. Choose another one.")


def check_endpoint_config(params: Params) -> None:
    """Check a request that is valid by the service model.

    :raises ApiError: a combination that SageMaker refuses.
    """
    variants = params["ProductionVariants"]
    names = [variant["VariantName"] for variant in variants]
    if len(set(names)) < len(names):
        raise _refused("Production variant names must be unique within an endpoint configuration.")
    serverless = [variant for variant in variants if "ServerlessConfig" in variant]
    for variant in variants:
        _check_variant(variant)
    if serverless and len(variants) > 1:
        raise _refused("Serverless endpoints support one production variant only.")
    for name in ("AsyncInferenceConfig", "DataCaptureConfig", "VpcConfig"):
        if serverless and name in params:
            raise _refused(f"{name} is not supported for serverless endpoints.")


def _check_variant(variant: dict[str, Any]) -> None:
    serverless, name = variant.get("ServerlessConfig"), variant["VariantName"]
    if serverless is None:
        if "InstanceType" not in variant or "InitialInstanceCount" not in variant:
            raise _refused(f"Production variant {name} needs InstanceType and InitialInstanceCount.")
        check_instance_type(variant["InstanceType"])
        return
    if {"InstanceType", "InitialInstanceCount"} & variant.keys():
        raise _refused(f"Production variant {name} has both ServerlessConfig and instances: they exclude each other.")
    if serverless["MemorySizeInMB"] % MEMORY_STEP_MB:
        raise _refused("MemorySizeInMB must be 1024, 2048, 3072, 4096, 5120 or 6144.")
    if serverless.get("ProvisionedConcurrency", 0) > serverless["MaxConcurrency"]:
        raise _refused("ProvisionedConcurrency must be less than or equal to MaxConcurrency.")


def check_transform(params: Params) -> None:
    """Check a request for a transform job that is valid by the service model.

    :raises ApiError: a combination that SageMaker refuses.
    """
    check_instance_type(params["TransformResources"]["InstanceType"])
    payload_mb, concurrent = params.get("MaxPayloadInMB", 6), params.get("MaxConcurrentTransforms", 1)
    if payload_mb * max(concurrent, 1) > MAX_TRANSFORM_MB:
        raise _refused("MaxConcurrentTransforms * MaxPayloadInMB must not exceed 100 MB.")
    split = params["TransformInput"].get("SplitType", "None")
    if params.get("BatchStrategy") == "MultiRecord" and split == "None":
        raise _refused("BatchStrategy MultiRecord needs a SplitType other than None.")


def check_switch(old: Params, new: Params, *, is_scaled: bool) -> None:
    """Check that an endpoint can be updated from one configuration to another.

    :param is_scaled: its instances are scaled automatically.
    :raises ApiError: it is a change that needs a new endpoint.
    """
    before, after = is_serverless(old), is_serverless(new)
    if after and not before:
        raise _refused("Cannot update an instance-based endpoint to a serverless endpoint.")
    if ("AsyncInferenceConfig" in old) != ("AsyncInferenceConfig" in new):
        raise _refused("Cannot update an endpoint to or from asynchronous inference.")
    # https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-update.html
    if is_scaled and _types(old) != _types(new):
        raise _refused(
            "The instance type of a variant that is registered as a scalable target cannot be changed. Deregister it "
            "as a scalable target first."
        )


def _types(config: Params) -> dict[str, str]:
    return {item["VariantName"]: item.get("InstanceType", "") for item in config["ProductionVariants"]}


def is_serverless(config: Params) -> bool:
    """Return True for the configuration of a serverless endpoint."""
    return any("ServerlessConfig" in variant for variant in config["ProductionVariants"])


def _refused(message: str) -> ApiError:
    return ApiError("ValidationException", message)
