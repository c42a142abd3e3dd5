"""Services that moto lacks, or knows too little of: Service Quotas and the price list."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from localcloud.aws import prices
from localcloud.aws.error_responses import USER_ARN, Refusal
from localcloud.aws.quotas import BY_CODE, ORDINARY_VCPUS, QUOTAS, described
from localcloud.ec2.capacity import quota_limit
from localcloud.ec2.environment import World

if TYPE_CHECKING:
    from localcloud.aws.wsgi import Question, Service

_ACCOUNT = "123456789012"


def price_list(action: str, question: Question, _region: str) -> dict[str, Any]:
    """The Price List API: GetProducts for machines and disks of EC2."""
    if action != "GetProducts":
        raise Refusal("NotImplemented", f"The {action} action is not there; GetProducts is")
    return prices.get_products(question)


@dataclass
class ServiceQuotas:
    """The Service Quotas API for EC2's vCPU quotas; increases are recorded, and never granted.

    Contract: quota-requests-are-recorded.
    """

    world: World
    requests: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, action: str, question: Question, region: str) -> dict[str, Any]:
        """Answer one call.

        :raises Refusal: there is no such quota or action.
        """
        answer = _ACTIONS.get(action)
        if answer is None:
            raise Refusal("NotImplemented", f"The {action} action is not there; {', '.join(_ACTIONS)} are")
        return answer(self, question, region)

    def applied(self, question: Question, region: str) -> dict[str, Any]:
        """GetServiceQuota."""
        quota = _named(question)
        return {"Quota": self._told(quota.code, quota_limit(self.world.weather, quota, region), region)}

    def default(self, question: Question, region: str) -> dict[str, Any]:
        """GetAWSDefaultServiceQuota."""
        return {"Quota": self._told(_named(question).code, ORDINARY_VCPUS, region)}

    def all_applied(self, question: Question, region: str) -> dict[str, Any]:
        """ListServiceQuotas."""
        _check_service(question)
        limits = {quota.code: quota_limit(self.world.weather, quota, region) for quota in QUOTAS}
        return {"Quotas": [self._told(code, limit, region) for code, limit in limits.items()]}

    def all_defaults(self, question: Question, region: str) -> dict[str, Any]:
        """ListAWSDefaultServiceQuotas."""
        _check_service(question)
        return {"Quotas": [self._told(code, ORDINARY_VCPUS, region) for code in BY_CODE]}

    def request(self, question: Question, region: str) -> dict[str, Any]:
        """RequestServiceQuotaIncrease."""
        quota, wanted = _named(question), float(question["DesiredValue"])
        if wanted <= quota_limit(self.world.weather, quota, region):
            raise Refusal("IllegalArgumentException", "You must provide a quota value greater than the current one.")
        if any(one["QuotaCode"] == quota.code for one in self._in(region)):
            words = "Only one open service quota increase request is allowed per quota."
            raise Refusal("ResourceAlreadyExistsException", words)
        told = self._told(quota.code, wanted, region)
        made = {name: told[name] for name in ("ServiceCode", "ServiceName", "QuotaArn", "QuotaCode", "QuotaName")}
        made |= {
            "Id": f"{len(self.requests) + 1:032x}",
            "DesiredValue": wanted,
            "Status": "PENDING",
            "Created": self.world.clock.utc().timestamp(),
            "Requester": json.dumps({"accountId": _ACCOUNT, "callerArn": USER_ARN}),
            "GlobalQuota": False,
            "Unit": "None",
        }
        self.requests.append(made)
        return {"RequestedQuota": made}

    def history(self, question: Question, region: str) -> dict[str, Any]:
        """ListRequestedServiceQuotaChangeHistory, also that by quota."""
        code = question.get("QuotaCode")
        return {"RequestedQuotas": [one for one in self._in(region) if code in (None, one["QuotaCode"])]}

    def _in(self, region: str) -> Iterable[dict[str, Any]]:
        return [one for one in self.requests if f":{region}:" in one["QuotaArn"]]

    def _told(self, code: str, limit: float, region: str) -> dict[str, Any]:
        return described(BY_CODE[code], limit, region=region, account=_ACCOUNT)


_ACTIONS: dict[str, Callable[[ServiceQuotas, Question, str], dict[str, Any]]] = {
    "GetServiceQuota": ServiceQuotas.applied,
    "GetAWSDefaultServiceQuota": ServiceQuotas.default,
    "ListServiceQuotas": ServiceQuotas.all_applied,
    "ListAWSDefaultServiceQuotas": ServiceQuotas.all_defaults,
    "RequestServiceQuotaIncrease": ServiceQuotas.request,
    "ListRequestedServiceQuotaChangeHistory": ServiceQuotas.history,
    "ListRequestedServiceQuotaChangeHistoryByQuota": ServiceQuotas.history,
}


def _check_service(question: Question) -> None:
    if question.get("ServiceCode") != "ec2":
        raise Refusal("NoSuchResourceException")


def _named(question: Question) -> Any:
    _check_service(question)
    if question.get("QuotaCode") not in BY_CODE:
        words = "The request failed because the specified quota does not exist."
        raise Refusal("NoSuchResourceException", words)
    return BY_CODE[question["QuotaCode"]]


def services(world: World) -> Mapping[str, Service]:
    """What to put in front of moto, by the names in signatures."""
    return {"servicequotas": ServiceQuotas(world), "pricing": price_list}
