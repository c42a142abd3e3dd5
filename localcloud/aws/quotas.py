"""vCPU quotas of EC2: codes, the instance types that each one counts, and their Service Quotas records.

Families and names: https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html. Quotas of rarer
families (F, Inf, Trn, X and so on) are not modeled: such types have no limit here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from localcloud.aws.sagemaker_catalog import ManagedQuota

if TYPE_CHECKING:
    from moto.ec2.models.instances import Instance

# Large enough to be never reached by accident; scenarios lower it.
DEFAULT_VCPUS = 4096

_EC2 = "Amazon Elastic Compute Cloud (Amazon EC2)"
_STANDARD = frozenset("acdhimrtz")


@dataclass(frozen=True)
class Quota:
    """One quota: the number of vCPUs of some instance families that may run in a region.

    :param bucket: ``standard``, ``g`` or ``p``.
    :param market: ``on-demand`` or ``spot``.
    """

    code: str
    name: str
    bucket: str
    market: str
    default: int = DEFAULT_VCPUS


QUOTAS = (
    Quota("L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", "standard", "on-demand"),
    Quota("L-DB2E81BA", "Running On-Demand G and VT instances", "g", "on-demand"),
    Quota("L-417A185B", "Running On-Demand P instances", "p", "on-demand"),
    Quota("L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", "standard", "spot"),
    Quota("L-3819A6DF", "All G and VT Spot Instance Requests", "g", "spot"),
    Quota("L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests", "p", "spot"),
)
BY_CODE = {quota.code: quota for quota in QUOTAS}

# States that count against a quota; a stopped instance does not.
_HOLDING = ("pending", "running", "stopping")


def quota_for(instance_type: str, market: str) -> Quota | None:
    """Return the quota that an instance type counts against; None if it is not modeled."""
    family = re.match("[a-z]+", instance_type.partition(".")[0])
    letters = family[0] if family else ""
    bucket = "standard" if letters[:1] in _STANDARD else letters[:1]
    # Inf, Trn and others begin with the letters of other buckets.
    is_unmodeled = letters.startswith(("inf", "hpc", "trn", "dl", "mac")) or letters == "u"
    bucket = "g" if letters in ("g", "gr", "vt") else bucket
    return next(
        (quota for quota in QUOTAS if (quota.bucket, quota.market) == (bucket, market) and not is_unmodeled), None
    )


@cache
def vcpus(instance_type: str) -> int:
    """Return the number of vCPUs of an instance type; 0 for an unknown one."""
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    return int(INSTANCE_TYPES.get(instance_type, {}).get("VCpuInfo", {}).get("DefaultVCpus", 0))


def vcpus_used(quota: Quota, instances: Iterable[Instance]) -> int:
    """Return the vCPUs of a quota that instances use."""
    return sum(
        vcpus(instance.instance_type)
        for instance in instances
        if instance.state in _HOLDING and quota_for(instance.instance_type, market_of(instance)) == quota
    )


def market_of(instance: Instance) -> str:
    """Return ``spot`` or ``on-demand``."""
    return "spot" if instance.lifecycle == "spot" else "on-demand"


def describe(quota: Quota | ManagedQuota, limit: float, *, region: str, account: str) -> dict[str, Any]:
    """Return a quota as a record of the Service Quotas API."""
    service, service_name = ("ec2", _EC2) if isinstance(quota, Quota) else ("sagemaker", "Amazon SageMaker")
    record = {
        "ServiceCode": service,
        "ServiceName": service_name,
        "QuotaArn": f"arn:aws:servicequotas:{region}:{account}:{service}/{quota.code}",
        "QuotaCode": quota.code,
        "QuotaName": quota.name,
        "Value": float(limit),
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
        "QuotaAppliedAtLevel": "ACCOUNT",
    }
    # AWS has metrics of usage for some services only, and SageMaker's instances are not among them.
    return {**record, "UsageMetric": _usage_metric(quota)} if isinstance(quota, Quota) else record


def _usage_metric(quota: Quota) -> dict[str, Any]:
    families = {"standard": "Standard", "g": "G", "p": "P"}[quota.bucket]
    market = "OnDemand" if quota.market == "on-demand" else "Spot"
    return {
        "MetricNamespace": "AWS/Usage",
        "MetricName": "ResourceCount",
        "MetricDimensions": {
            "Class": f"{families}/{market}",
            "Resource": "vCPU",
            "Service": "EC2",
            "Type": "Resource",
        },
        "MetricStatisticRecommendation": "Maximum",
    }
