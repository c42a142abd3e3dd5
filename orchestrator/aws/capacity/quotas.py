"""vCPU quotas: requirement of a launch, limit and usage of the account, and requests for an increase.

Codes and families: https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.aws import client, errors
from orchestrator.aws.capacity.pools import ON_DEMAND, SPOT, quota_family
from orchestrator.aws.ec2 import instance_types
from orchestrator.core.errors import CloudRefused, StratusError, UsageError
from orchestrator.core.next_step import NextStep

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import InstanceTypeDef

_CODES = {
    ("Standard", ON_DEMAND): "L-1216C47A",
    ("G and VT", ON_DEMAND): "L-DB2E81BA",
    ("P", ON_DEMAND): "L-417A185B",
    ("Standard", SPOT): "L-34B43A08",
    ("G and VT", SPOT): "L-3819A6DF",
    ("P", SPOT): "L-7212CCBC",
}
_COUNTED_STATES = ("pending", "running", "stopping")  # a stopped instance uses no quota
_SERVICE = "ec2"


@dataclass(frozen=True)
class Quota:
    """One vCPU quota of a region: a group of instance families in one market.

    :param code: quota code of Service Quotas.
    :param families: ``Standard``, ``G and VT``, ``P``.
    :param market: ``on-demand`` or ``spot``.
    """

    code: str
    families: str
    market: str

    def __str__(self) -> str:
        """Return families, market and code: ``G and VT on demand, L-DB2E81BA``."""
        return f"{self.families} {'spot' if self.market == SPOT else 'on demand'}, {self.code}"


def quota_for(instance_type: str, market: str = ON_DEMAND) -> Quota | None:
    """Return the quota of an instance type; None for families whose quota code is not in the table."""
    families = quota_family(instance_type)
    code = _CODES.get((families, market))
    return Quota(code, families, market) if code else None


@dataclass(frozen=True)
class QuotaUsage:
    """A quota, and what a launch needs of it.

    :param quota: None if the quota of the instance type is unknown.
    :param needed: vCPUs of the launch.
    :param limit: vCPUs that may run at the same time; None if unknown.
    :param in_use: vCPUs that are running, of all users of the account; None if unknown.
    """

    quota: Quota | None
    needed: int
    limit: int | None = None
    in_use: int | None = None

    @property
    def shortfall(self) -> int:
        """Number of vCPUs that the launch lacks; 0 if there are enough, or the limit is unknown."""
        return 0 if self.limit is None else max(0, self.required_limit - self.limit)

    @property
    def required_limit(self) -> int:
        """The smallest limit with which the launch succeeds."""
        return self.needed + (self.in_use or 0)

    def launchable(self, vcpus: int) -> int | None:
        """Return how many instances can be launched now; None if the limit is unknown.

        :param vcpus: of one instance.
        """
        return None if self.limit is None else max(0, self.limit - (self.in_use or 0)) // vcpus

    def check(self, instance_type: str, region: str) -> None:
        """Check that the quota is large enough for the launch.

        :raises CloudRefused: it is not.
        """
        if self.shortfall:
            used = f" ({self.in_use} in use)" if self.in_use else ""
            raise CloudRefused(
                f"quota too small in {region} ({self.quota}): {self.needed} vCPU needed, limit {self.limit}{used}",
                where=instance_type,
                fix=NextStep("RequestLimitIncrease")
                + f"  asks AWS for {self.required_limit} (usually a working day)      "
                + _alternative(self.quota)
                + "  lists what you can launch now",
            )


def _alternative(quota: Quota | None) -> NextStep:
    standard = quota is None or quota.families == "Standard"
    return NextStep("InstanceTypes") if standard else NextStep("InstanceTypes", gpus=1)


@dataclass(frozen=True)
class QuotaIncrease:
    """A requested increase of a quota.

    :param wanted: requested limit, vCPUs.
    :param status: of the request as AWS names it, such as ``PENDING``, ``CASE_OPENED`` or ``APPROVED``; ``not needed``.
    :param open: True if the request existed already, and no new one was made.
    """

    usage: QuotaUsage
    requested_limit: int
    status: str
    is_existing: bool = False


def query(clients: client.Clients, instance_type: str, vcpus: int, *, market: str = ON_DEMAND) -> QuotaUsage:
    """Return the quota of an instance type with its limit and usage, as far as AWS answers.

    :param vcpus: of the whole launch.
    """
    quota = quota_for(instance_type, market)
    if quota is None:
        return QuotaUsage(None, vcpus)
    return replace(query_all(clients, [quota])[quota], needed=vcpus)


def query_all(clients: client.Clients, quotas: Collection[Quota]) -> dict[Quota, QuotaUsage]:
    """Return limit and usage of several quotas."""
    ordered = list(quotas)
    used, *limits = clients.in_parallel(
        lambda: _in_use(clients), *(lambda quota=quota: _limit(clients, quota) for quota in ordered)
    )
    return {
        quota: QuotaUsage(quota, 0, limit, None if used is None else used.get(quota, 0))
        for quota, limit in zip(ordered, limits, strict=True)
    }


def request_increase(clients: client.Clients, usage: QuotaUsage) -> QuotaIncrease:
    """Request the limit that a launch needs, unless there is an open request.

    :raises CloudRefused: AWS refuses the request.
    :raises UsageError: the quota of the instance type is unknown.
    """
    if usage.quota is None:
        raise UsageError(
            "the quota of this instance type is unknown",
            fix="https://console.aws.amazon.com/servicequotas/home/services/ec2/quotas  lists all quotas",
        )
    if usage.limit is not None and not usage.shortfall:
        return QuotaIncrease(usage, usage.required_limit, "not needed")
    with clients.translate_errors(f"requesting a larger quota ({usage.quota})"):
        try:
            response = _service_quotas(clients).request_service_quota_increase(
                ServiceCode=_SERVICE, QuotaCode=usage.quota.code, DesiredValue=float(usage.required_limit)
            )["RequestedQuota"]
        except errors.error_types() as error:
            # Service Quotas allows one open request per quota.
            if errors.code_of(error) != "ResourceAlreadyExistsException":
                raise
            return _open_request(clients, usage, usage.quota)
    return QuotaIncrease(usage, math.floor(response["DesiredValue"]), response["Status"])


def _open_request(clients: client.Clients, usage: QuotaUsage, quota: Quota) -> QuotaIncrease:
    requests = _service_quotas(clients).list_requested_service_quota_change_history_by_quota(
        ServiceCode=_SERVICE, QuotaCode=quota.code
    )["RequestedQuotas"]
    candidates = [request for request in requests if request["Status"] in ("PENDING", "CASE_OPENED")] or requests
    default: Mapping[str, Any] = {"DesiredValue": usage.required_limit, "Status": "PENDING"}
    newest = candidates[-1] if candidates else default
    return QuotaIncrease(usage, math.floor(newest["DesiredValue"]), newest["Status"], is_existing=True)


def aws_default(clients: client.Clients, quota: Quota) -> int:
    """Return the limit of a quota in a new account, vCPUs."""
    response = _service_quotas(clients).get_aws_default_service_quota(ServiceCode=_SERVICE, QuotaCode=quota.code)
    return int(response["Quota"]["Value"])


def _limit(clients: client.Clients, quota: Quota) -> int | None:
    try:
        with clients.translate_errors(f"looking up the quota ({quota})"):
            try:
                response = _service_quotas(clients).get_service_quota(ServiceCode=_SERVICE, QuotaCode=quota.code)
            except errors.error_types() as error:
                if errors.code_of(error) != "NoSuchResourceException":
                    raise
                # An account whose limit was never changed may have no value of its own.
                return aws_default(clients, quota)
            return int(response["Quota"]["Value"])
    except (StratusError, KeyError):  # not permitted, or no answer in time: a plan is made without
        return None


def _in_use(clients: client.Clients) -> Counter[Quota] | None:
    """Return the vCPUs in use by quota, of all users of the account; None if unknown."""
    try:
        with clients.translate_errors("looking up the use of the quota"):
            pages = clients.ec2.get_paginator("describe_instances").paginate(
                Filters=[{"Name": "instance-state-name", "Values": [*_COUNTED_STATES]}],
                PaginationConfig={"PageSize": 1000},
            )
            instances = [
                instance
                for page in pages
                for reservation in page["Reservations"]
                for instance in reservation["Instances"]
            ]
            vcpus = instance_types.vcpus_by_type(clients, {instance["InstanceType"] for instance in instances})
    except StratusError:
        return None
    # Service Quotas knows limits, not usage: the vCPUs of the running instances are added up, other users' included.
    used: Counter[Quota] = Counter()
    for instance in instances:
        if quota := quota_for(instance["InstanceType"], _market(instance)):
            used[quota] += vcpus.get(instance["InstanceType"], 0)
    return used


def _market(instance: InstanceTypeDef) -> str:
    return SPOT if instance.get("InstanceLifecycle") == "spot" else ON_DEMAND


def _service_quotas(clients: client.Clients) -> Any:
    return clients.service("service-quotas", attempts=2, timeout_s=client.OPTIONAL_TIMEOUT_S)
