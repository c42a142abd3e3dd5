"""Quotas of endpoints and transform jobs, in instances of a type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from localcloud.aws.error_responses import ApiError
from localcloud.aws.sagemaker_catalog import ManagedQuota
from localcloud.aws.wsgi import Params
from localcloud.ec2.capacity import quota_limit
from localcloud.ec2.environment import CloudEnvironment


class Fleet(Protocol):
    """Something with instances."""

    @property
    def region(self) -> str:
        """Region of its instances."""
        ...

    @property
    def instances(self) -> Counter[str]:
        """Instances of each type."""
        ...


def check_config(environment: CloudEnvironment, region: str, present: Iterable[Fleet], config: Params) -> None:
    """Check that a configuration's instances are within the quotas.

    :raises ApiError: they are not.
    """
    fleets = list(present)
    for instance_type, count in _instances(config).items():
        check_instances(environment, region, fleets, instance_type, count)


def check_instances(
    environment: CloudEnvironment, region: str, present: Iterable[Fleet], instance_type: str, count: int
) -> None:
    """Check that more instances of a type are within the quota.

    :raises ApiError: they are not.
    """
    used = sum(fleet.instances[instance_type] for fleet in present if fleet.region == region)
    check(environment, region, f"{instance_type} for endpoint usage", used, count)


def check(environment: CloudEnvironment, region: str, name: str, used: int, count: int) -> None:
    """Check one quota.

    :raises ApiError: it is used up.
    """
    limit = int(quota_limit(environment.fault_engine, ManagedQuota(name), region))
    if used + count > limit:
        message = (
            f"The account-level service limit '{name}' is {limit} Instances, with current utilization of {used} "
            f"Instances and a request delta of {count} Instances. Please use AWS Service Quotas to request an increase "
            "for this quota."
        )
        raise ApiError("ResourceLimitExceeded", message)


def _instances(config: Params) -> Counter[str]:
    counts = Counter[str]()
    for variant in config.get("ProductionVariants", []):
        if "InstanceType" in variant:
            counts[variant["InstanceType"]] += variant["InitialInstanceCount"]
    return counts
