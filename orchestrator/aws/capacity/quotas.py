"""vCPU quotas: what a launch needs against what the account may have and has, and asking AWS for more.

Codes and families: https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
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
_HOLDING = ("pending", "running", "stopping")  # a stopped machine holds none
_SERVICE = "ec2"


@dataclass(frozen=True)
class Quota:
    """One quota: how many vCPUs of some families may run in a region, bought one way.

    :param code: of Service Quotas.
    :param families: ``Standard``, ``G and VT``, ``P``.
    :param market: ``on-demand`` or ``spot``.
    """

    code: str
    families: str
    market: str

    def __str__(self) -> str:
        """In words, as the console names it: ``G and VT on demand, L-DB2E81BA``."""
        return f"{self.families} {'spot' if self.market == SPOT else 'on demand'}, {self.code}"


def quota_for(instance_type: str, market: str = ON_DEMAND) -> Quota | None:
    """Return the quota that a type counts against; None for families whose code is not known here."""
    families = quota_family(instance_type)
    code = _CODES.get((families, market))
    return Quota(code, families, market) if code else None


@dataclass(frozen=True)
class QuotaUsage:
    """What a launch needs of a quota.

    :param quota: None when it is not known which one counts.
    :param needed: vCPUs of the launch.
    :param limit: vCPUs that may run; None when AWS would not say.
    :param in_use: vCPUs that run already, everybody's in the account; None when AWS would not say.
    """

    quota: Quota | None
    needed: int
    limit: int | None = None
    in_use: int | None = None

    @property
    def shortfall(self) -> int:
        """How many vCPUs more are needed than are left; 0 when there are enough, or nobody knows."""
        if self.limit is None:
            return 0
        return max(0, self.needed + (self.in_use or 0) - self.limit)

    @property
    def required_limit(self) -> int:
        """The limit that the launch takes."""
        return self.needed + (self.in_use or 0)

    def launchable(self, vcpus: int) -> int | None:
        """Return how many machines of so many vCPUs may be launched now; None when AWS would not say."""
        return None if self.limit is None else max(0, self.limit - (self.in_use or 0)) // vcpus

    def check(self, instance_type: str, region: str) -> None:
        """Refuse a launch that AWS would refuse.

        :raises CloudRefused: the quota is too small.
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
    return NextStep("Instances") if standard else NextStep("Instances", gpus=1)


@dataclass(frozen=True)
class QuotaIncrease:
    """An increase that AWS was asked for.

    :param wanted: vCPUs.
    :param status: AWS's word: ``PENDING``, ``CASE_OPENED``, ``APPROVED`` ...; ``not needed``.
    :param open: it was there already; nothing new was asked.
    """

    limit: QuotaUsage
    wanted: int
    status: str
    open: bool = False


def query(clients: client.Clients, instance_type: str, vcpus: int, *, market: str = ON_DEMAND) -> QuotaUsage:
    """Ask AWS for the quota of a launch, and how much of it is used; what it does not answer is unknown.

    :param vcpus: of the whole launch.
    """
    quota = quota_for(instance_type, market)
    if quota is None:
        return QuotaUsage(None, vcpus)
    limit, used = clients.in_parallel(lambda: _limit(clients, quota), lambda: _in_use(clients))
    return QuotaUsage(quota, vcpus, limit, None if used is None else used.get(quota, 0))


def query_all(clients: client.Clients, quotas: Collection[Quota]) -> dict[Quota, QuotaUsage]:
    """Return limit and use of several quotas."""
    ordered = list(quotas)
    used, *limits = clients.in_parallel(
        lambda: _in_use(clients), *(lambda quota=quota: _limit(clients, quota) for quota in ordered)
    )
    return {
        quota: QuotaUsage(quota, 0, limit, None if used is None else used.get(quota, 0))
        for quota, limit in zip(ordered, limits, strict=True)
    }


def request_increase(clients: client.Clients, usage: QuotaUsage) -> QuotaIncrease:
    """Ask AWS for as much as a launch takes; once, however often this is called.

    :raises CloudRefused: AWS takes no such request.
    :raises UsageError: it is not known which quota counts.
    """
    if usage.quota is None:
        raise UsageError(
            "which quota counts for that type is not known here",
            fix="https://console.aws.amazon.com/servicequotas/home/services/ec2/quotas  lists them all",
        )
    if usage.limit is not None and not usage.shortfall:
        return QuotaIncrease(usage, usage.required_limit, "not needed")
    with clients.translate_errors(f"asking for a larger quota ({usage.quota})"):
        try:
            made = _service_quotas(clients).request_service_quota_increase(
                ServiceCode=_SERVICE, QuotaCode=usage.quota.code, DesiredValue=float(usage.required_limit)
            )["RequestedQuota"]
        except errors.error_types() as error:
            if errors.code_of(error) != "ResourceAlreadyExistsException":
                raise
            return _open(clients, usage, usage.quota)
    return QuotaIncrease(usage, math.floor(made["DesiredValue"]), made["Status"])


def _open(clients: client.Clients, limit: QuotaUsage, quota: Quota) -> QuotaIncrease:
    made = _service_quotas(clients).list_requested_service_quota_change_history_by_quota(
        ServiceCode=_SERVICE, QuotaCode=quota.code
    )["RequestedQuotas"]
    waiting = [one for one in made if one["Status"] in ("PENDING", "CASE_OPENED")] or made
    newest: Mapping[str, Any] = waiting[-1] if waiting else {"DesiredValue": limit.required_limit, "Status": "PENDING"}
    return QuotaIncrease(limit, math.floor(newest["DesiredValue"]), newest["Status"], open=True)


def aws_default(clients: client.Clients, quota: Quota) -> int:
    """Return what every new account may run of a quota."""
    found = _service_quotas(clients).get_aws_default_service_quota(ServiceCode=_SERVICE, QuotaCode=quota.code)
    return int(found["Quota"]["Value"])


def _limit(clients: client.Clients, quota: Quota) -> int | None:
    try:
        with clients.translate_errors(f"asking for the quota ({quota})"):
            try:
                found = _service_quotas(clients).get_service_quota(ServiceCode=_SERVICE, QuotaCode=quota.code)
            except errors.error_types() as error:
                if errors.code_of(error) != "NoSuchResourceException":
                    raise
                # An account that never differed from the default may have no quota of its own.
                return aws_default(clients, quota)
            return int(found["Quota"]["Value"])
    except (StratusError, KeyError):
        return None


def _in_use(clients: client.Clients) -> Counter[Quota] | None:
    """Return the vCPUs that everybody's machines in the account hold of each quota."""
    try:
        with clients.translate_errors("asking which machines hold the quota"):
            pages = clients.ec2.get_paginator("describe_instances").paginate(
                Filters=[{"Name": "instance-state-name", "Values": [*_HOLDING]}], PaginationConfig={"PageSize": 1000}
            )
            held = [each for page in pages for one in page["Reservations"] for each in one["Instances"]]
            vcpus = instance_types.vcpus_by_type(clients, {each["InstanceType"] for each in held})
    except StratusError:
        return None
    found: Counter[Quota] = Counter()
    for each in held:
        if quota := quota_for(each["InstanceType"], _market(each)):
            found[quota] += vcpus.get(each["InstanceType"], 0)
    return found


def _market(each: InstanceTypeDef) -> str:
    return SPOT if each.get("InstanceLifecycle") == "spot" else ON_DEMAND


def _service_quotas(clients: client.Clients) -> Any:
    return clients.service("service-quotas", attempts=2, timeout_s=client.OPTIONAL_TIMEOUT_S)
