"""Services that moto lacks, or knows too little of: Service Quotas and the price list."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from localcloud.aws import prices
from localcloud.aws.error_responses import USER_ARN, ApiError
from localcloud.aws.quotas import BY_CODE, DEFAULT_VCPUS, QUOTAS, describe
from localcloud.ec2.capacity import quota_limit
from localcloud.ec2.environment import CloudEnvironment

if TYPE_CHECKING:
    from localcloud.aws.wsgi import Params, Service

_ACCOUNT = "123456789012"


def price_list(action: str, question: Params, _region: str) -> dict[str, Any]:
    """The Price List API: GetProducts for machines and disks of EC2."""
    if action != "GetProducts":
        raise ApiError("NotImplemented", f"The {action} action is not there; GetProducts is")
    return prices.get_products(question)


@dataclass
class ServiceQuotas:
    """The Service Quotas API for EC2's vCPU quotas; increases are recorded, and never granted.

    Contract: quota-requests-are-recorded.
    """

    environment: CloudEnvironment
    requests: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, action: str, question: Params, region: str) -> dict[str, Any]:
        """Answer one call.

        :raises Refusal: there is no such quota or action.
        """
        answer = _ACTIONS.get(action)
        if answer is None:
            raise ApiError("NotImplemented", f"The {action} action is not there; {', '.join(_ACTIONS)} are")
        return answer(self, question, region)

    def applied(self, question: Params, region: str) -> dict[str, Any]:
        """GetServiceQuota."""
        quota = _named(question)
        return {"Quota": self._describe(quota.code, quota_limit(self.environment.fault_engine, quota, region), region)}

    def default(self, question: Params, region: str) -> dict[str, Any]:
        """GetAWSDefaultServiceQuota."""
        return {"Quota": self._describe(_named(question).code, DEFAULT_VCPUS, region)}

    def all_applied(self, question: Params, region: str) -> dict[str, Any]:
        """ListServiceQuotas."""
        _check_service(question)
        limits = {quota.code: quota_limit(self.environment.fault_engine, quota, region) for quota in QUOTAS}
        return {"Quotas": [self._describe(code, limit, region) for code, limit in limits.items()]}

    def all_defaults(self, question: Params, region: str) -> dict[str, Any]:
        """ListAWSDefaultServiceQuotas."""
        _check_service(question)
        return {"Quotas": [self._describe(code, DEFAULT_VCPUS, region) for code in BY_CODE]}

    def request(self, question: Params, region: str) -> dict[str, Any]:
        """RequestServiceQuotaIncrease."""
        quota, wanted = _named(question), float(question["DesiredValue"])
        if wanted <= quota_limit(self.environment.fault_engine, quota, region):
            raise ApiError("IllegalArgumentException", "You must provide a quota value greater than the current one.")
        if any(one["QuotaCode"] == quota.code for one in self._in(region)):
            words = "Only one open service quota increase request is allowed per quota."
            raise ApiError("ResourceAlreadyExistsException", words)
        told = self._describe(quota.code, wanted, region)
        made = {name: told[name] for name in ("ServiceCode", "ServiceName", "QuotaArn", "QuotaCode", "QuotaName")}
        made |= {
            "Id": f"{len(self.requests) + 1:032x}",
            "DesiredValue": wanted,
            "Status": "PENDING",
            "Created": self.environment.clock.utc().timestamp(),
            "Requester": json.dumps({"accountId": _ACCOUNT, "callerArn": USER_ARN}),
            "GlobalQuota": False,
            "Unit": "None",
        }
        self.requests.append(made)
        return {"RequestedQuota": made}

    def history(self, question: Params, region: str) -> dict[str, Any]:
        """ListRequestedServiceQuotaChangeHistory, also that by quota."""
        code = question.get("QuotaCode")
        return {"RequestedQuotas": [one for one in self._in(region) if code in (None, one["QuotaCode"])]}

    def _in(self, region: str) -> Iterable[dict[str, Any]]:
        return [one for one in self.requests if f":{region}:" in one["QuotaArn"]]

    def _describe(self, code: str, limit: float, region: str) -> dict[str, Any]:
        return describe(BY_CODE[code], limit, region=region, account=_ACCOUNT)


_ACTIONS: dict[str, Callable[[ServiceQuotas, Params, str], dict[str, Any]]] = {
    "GetServiceQuota": ServiceQuotas.applied,
    "GetAWSDefaultServiceQuota": ServiceQuotas.default,
    "ListServiceQuotas": ServiceQuotas.all_applied,
    "ListAWSDefaultServiceQuotas": ServiceQuotas.all_defaults,
    "RequestServiceQuotaIncrease": ServiceQuotas.request,
    "ListRequestedServiceQuotaChangeHistory": ServiceQuotas.history,
    "ListRequestedServiceQuotaChangeHistoryByQuota": ServiceQuotas.history,
}


def _check_service(question: Params) -> None:
    if question.get("ServiceCode") != "ec2":
        raise ApiError("NoSuchResourceException")


def _named(question: Params) -> Any:
    _check_service(question)
    if question.get("QuotaCode") not in BY_CODE:
        words = "The request failed because the specified quota does not exist."
        raise ApiError("NoSuchResourceException", words)
    return BY_CODE[question["QuotaCode"]]


def services(world: CloudEnvironment) -> Mapping[str, Service]:
    """What to put in front of moto, by the names in signatures."""
    return {"servicequotas": ServiceQuotas(world), "pricing": price_list}
