"""Quotas of SageMaker's instances, by type and use, counted in instances.

A quota is found by its name: public lists give several codes for the same quota.
https://docs.aws.amazon.com/general/latest/gr/sagemaker.html
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from orchestrator.aws import client, errors
from orchestrator.aws.sagemaker.uses import Use
from orchestrator.core.errors import CloudRefused, StratusError, UsageError
from orchestrator.core.next_step import NextStep

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients

SERVICE_CODE = "sagemaker"
_PAGE_SIZE = 100
# SageMaker has well over a thousand quotas; a launch does not wait longer than this for all of their pages.
_TIMEOUT_S = 20.0
_SUFFIX = {
    Use.TRAINING: "for training job usage",
    Use.HOSTING: "for endpoint usage",
    Use.TRANSFORM: "for transform job usage",
}
WARM_POOL = "for training warm pool usage"


def quota_name(instance_type: str, use: Use, *, spot: bool = False) -> str:
    """Return the name of the quota: ``ml.g5.xlarge for spot training job usage``."""
    suffix = _SUFFIX[use]
    return f"{instance_type} {suffix.replace('for ', 'for spot ') if spot else suffix}"


@dataclass(frozen=True)
class SageMakerQuota:
    """A quota, and what a request needs of it, in instances.

    :param name: such as ``ml.g5.xlarge for training job usage``.
    :param code: of Service Quotas; empty if it was not found.
    :param limit: instances that may run at the same time; None if unknown.
    :param in_use: instances that are known to run.
    """

    name: str
    needed: int
    code: str = ""
    limit: int | None = None
    in_use: int = 0

    @property
    def required_limit(self) -> int:
        """The smallest limit with which the request succeeds."""
        return self.needed + self.in_use

    @property
    def shortfall(self) -> int:
        """Number of instances that the request lacks; 0 if there are enough, or the limit is unknown."""
        return 0 if self.limit is None else max(0, self.required_limit - self.limit)

    def check(self, region: str) -> None:
        """Check that the quota is large enough.

        :raises CloudRefused: it is not.
        """
        if not self.shortfall:
            return
        used = f", {self.in_use} in use" if self.in_use else ""
        raise CloudRefused(
            f"quota too small in {region}: {self.name} is {self.limit}{used}, {self.needed} needed",
            code="ResourceLimitExceeded",
            fix=NextStep("RequestLimitIncrease", self.required_limit, quota=self.name)
            + f"  asks AWS for {self.required_limit} (usually a working day)",
        )


@dataclass(frozen=True)
class SageMakerQuotaIncrease:
    """A requested increase of a quota of SageMaker.

    :param status: of the request as AWS names it, such as ``PENDING`` or ``APPROVED``; ``not needed``.
    :param is_existing: True if the request existed already, and no new one was made.
    """

    quota: SageMakerQuota
    requested_limit: int
    status: str
    is_existing: bool = False


def query_training(
    clients: Clients, instance_type: str, count: int, *, spot: bool = False, keeps: bool = False
) -> list[SageMakerQuota]:
    """Return the quotas of training instances that a job needs, as far as AWS answers in time.

    :param keeps: True if the instances are kept for another job, for which there is a quota of its own.
    """
    names = [quota_name(instance_type, Use.TRAINING, spot=spot)]
    names += [f"{instance_type} {WARM_POOL}"] if keeps else []
    try:
        return find_all(clients, dict.fromkeys(names, count))
    except StratusError:  # as for query()
        return [SageMakerQuota(name, count) for name in names]


def query(
    clients: Clients, instance_type: str, count: int, use: Use, *, spot: bool = False, in_use: int = 0
) -> SageMakerQuota:
    """Return the quota of an instance type for a use, as far as AWS answers in time.

    :param count: instances of the request.
    :param in_use: instances of this type and use that are known to run.
    """
    name = quota_name(instance_type, use, spot=spot)
    try:
        return find(clients, name, count, in_use=in_use)
    except StratusError:  # not permitted, or no answer in time: AWS checks the request itself
        return SageMakerQuota(name, count, in_use=in_use)


def find(clients: Clients, name: str, needed: int, *, in_use: int = 0) -> SageMakerQuota:
    """Return the quota of a name.

    :raises StratusError: AWS refuses the lookup, or does not answer.
    """
    (quota,) = find_all(clients, {name: needed})
    return replace(quota, in_use=in_use)


def find_all(clients: Clients, needed: Mapping[str, int]) -> list[SageMakerQuota]:
    """Return quotas by their names, from one pass through all of them.

    :param needed: name -> number of instances.
    :raises StratusError: AWS refuses the lookup, or does not answer.
    """
    quotas = {name: SageMakerQuota(name, count) for name, count in needed.items()}
    with clients.translate_errors("looking up the quotas of SageMaker"):
        # An account whose limit was never changed may have no value of its own.
        applied = _service_quotas(clients).get_paginator("list_service_quotas")
        defaults = _service_quotas(clients).get_paginator("list_aws_default_service_quotas")
        for item in chain(_quotas(clients, applied), _quotas(clients, defaults)):
            name = item["QuotaName"]
            if name in quotas and not quotas[name].code:
                quotas[name] = replace(quotas[name], code=item["QuotaCode"], limit=math.floor(item["Value"]))
                if all(quota.code for quota in quotas.values()):
                    break
    return list(quotas.values())


def request_increase(clients: Clients, quota: SageMakerQuota) -> SageMakerQuotaIncrease:
    """Request the limit that a quota requires, unless it is available or there is an open request.

    :raises CloudRefused: AWS refuses the request.
    :raises UsageError: SageMaker has no quota of this name.
    """
    if not quota.code:
        raise UsageError(
            f"SageMaker has no quota named {quota.name!r} here",
            fix="https://console.aws.amazon.com/servicequotas/home/services/sagemaker/quotas  lists all quotas",
        )
    if not quota.shortfall:
        return SageMakerQuotaIncrease(quota, quota.required_limit, "not needed")
    with clients.translate_errors(f"requesting a larger quota ({quota.name})"):
        try:
            request = _service_quotas(clients).request_service_quota_increase(
                ServiceCode=SERVICE_CODE, QuotaCode=quota.code, DesiredValue=float(quota.required_limit)
            )["RequestedQuota"]
        except errors.error_types() as error:
            # Service Quotas allows one open request per quota.
            if errors.code_of(error) != "ResourceAlreadyExistsException":
                raise
            return _open_request(clients, quota)
    return SageMakerQuotaIncrease(quota, math.floor(request["DesiredValue"]), request["Status"])


def _open_request(clients: Clients, quota: SageMakerQuota) -> SageMakerQuotaIncrease:
    requests = _service_quotas(clients).list_requested_service_quota_change_history_by_quota(
        ServiceCode=SERVICE_CODE, QuotaCode=quota.code
    )["RequestedQuotas"]
    default: Mapping[str, Any] = {"DesiredValue": quota.required_limit, "Status": "PENDING"}
    newest = requests[-1] if requests else default
    return SageMakerQuotaIncrease(quota, math.floor(newest["DesiredValue"]), newest["Status"], is_existing=True)


def _quotas(clients: Clients, paginator: Any) -> Iterator[dict[str, Any]]:
    deadline = clients.clock.monotonic() + _TIMEOUT_S
    for page in paginator.paginate(ServiceCode=SERVICE_CODE, PaginationConfig={"PageSize": _PAGE_SIZE}):
        yield from page["Quotas"]
        if clients.clock.monotonic() > deadline:
            return


def _service_quotas(clients: Clients) -> Any:
    return clients.service("service-quotas", attempts=2, timeout_s=client.OPTIONAL_TIMEOUT_S)
