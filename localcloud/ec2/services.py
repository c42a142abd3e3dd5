"""Services that moto lacks or answers incompletely: Service Quotas and the Price List API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from localcloud.aws import prices, sagemaker_catalog
from localcloud.aws.error_responses import USER_ARN, ApiError
from localcloud.aws.quotas import BY_CODE, Quota, describe
from localcloud.aws.sagemaker_catalog import ManagedQuota
from localcloud.ec2.capacity import quota_limit
from localcloud.ec2.environment import CloudEnvironment

if TYPE_CHECKING:
    from localcloud.aws.wsgi import Params, Service

_ACCOUNT = "123456789012"

AnyQuota = Quota | ManagedQuota


def price_list(action: str, params: Params, _region: str) -> dict[str, Any]:
    """Answer the Price List API: GetProducts for instances of EC2 and SageMaker, and disks."""
    if action != "GetProducts":
        raise ApiError("NotImplemented", f"The {action} action is not there; GetProducts is")
    return prices.get_products(params)


@dataclass
class ServiceQuotas:
    """The Service Quotas API for EC2's vCPUs and SageMaker's instances. Requests are recorded and never granted.

    Contract: quota-requests-are-recorded.
    """

    environment: CloudEnvironment
    requests: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, action: str, params: Params, region: str) -> dict[str, Any]:
        """Answer one call.

        :raises ApiError: the action or the quota does not exist.
        """
        answer = _ACTIONS.get(action)
        if answer is None:
            raise ApiError("NotImplemented", f"The {action} action is not there; {', '.join(_ACTIONS)} are")
        return answer(self, params, region)

    def applied(self, params: Params, region: str) -> dict[str, Any]:
        """Answer GetServiceQuota."""
        quota = _named(params)
        return {"Quota": self._describe(quota, self._limit(quota, region), region)}

    def default(self, params: Params, region: str) -> dict[str, Any]:
        """Answer GetAWSDefaultServiceQuota."""
        quota = _named(params)
        return {"Quota": self._describe(quota, quota.default, region)}

    def all_applied(self, params: Params, region: str) -> dict[str, Any]:
        """Answer ListServiceQuotas."""
        page, token = _page(params)
        return {"Quotas": [self._describe(quota, self._limit(quota, region), region) for quota in page], **token}

    def all_defaults(self, params: Params, region: str) -> dict[str, Any]:
        """Answer ListAWSDefaultServiceQuotas."""
        page, token = _page(params)
        return {"Quotas": [self._describe(quota, quota.default, region) for quota in page], **token}

    def request(self, params: Params, region: str) -> dict[str, Any]:
        """Answer RequestServiceQuotaIncrease."""
        quota, desired = _named(params), float(params["DesiredValue"])
        if desired <= self._limit(quota, region):
            raise ApiError("IllegalArgumentException", "You must provide a quota value greater than the current one.")
        if any(other["QuotaCode"] == quota.code for other in self._in(region)):
            message = "Only one open service quota increase request is allowed per quota."
            raise ApiError("ResourceAlreadyExistsException", message)
        description = self._describe(quota, desired, region)
        record = {
            name: description[name] for name in ("ServiceCode", "ServiceName", "QuotaArn", "QuotaCode", "QuotaName")
        }
        record |= {
            # Counted, not random: the same calls must get the same answers with the same seed.
            "Id": f"{len(self.requests) + 1:032x}",
            "DesiredValue": desired,
            "Status": "PENDING",
            "Created": self.environment.clock.utc().timestamp(),
            "Requester": json.dumps({"accountId": _ACCOUNT, "callerArn": USER_ARN}),
            "GlobalQuota": False,
            "Unit": "None",
        }
        self.requests.append(record)
        return {"RequestedQuota": record}

    def history(self, params: Params, region: str) -> dict[str, Any]:
        """Answer ListRequestedServiceQuotaChangeHistory, and its variant by quota."""
        code = params.get("QuotaCode")
        return {"RequestedQuotas": [request for request in self._in(region) if code in (None, request["QuotaCode"])]}

    def _in(self, region: str) -> Iterable[dict[str, Any]]:
        return [request for request in self.requests if f":{region}:" in request["QuotaArn"]]

    def _limit(self, quota: AnyQuota, region: str) -> int:
        return quota_limit(self.environment.fault_engine, quota, region)

    def _describe(self, quota: AnyQuota, limit: float, region: str) -> dict[str, Any]:
        return describe(quota, limit, region=region, account=_ACCOUNT)


_ACTIONS: dict[str, Callable[[ServiceQuotas, Params, str], dict[str, Any]]] = {
    "GetServiceQuota": ServiceQuotas.applied,
    "GetAWSDefaultServiceQuota": ServiceQuotas.default,
    "ListServiceQuotas": ServiceQuotas.all_applied,
    "ListAWSDefaultServiceQuotas": ServiceQuotas.all_defaults,
    "RequestServiceQuotaIncrease": ServiceQuotas.request,
    "ListRequestedServiceQuotaChangeHistory": ServiceQuotas.history,
    "ListRequestedServiceQuotaChangeHistoryByQuota": ServiceQuotas.history,
}


def _quotas(params: Params) -> Mapping[str, AnyQuota]:
    """Return the quotas of the service that a call names: code -> quota."""
    service = params.get("ServiceCode")
    if service == "sagemaker":
        return sagemaker_catalog.quotas_by_code()
    if service != "ec2":
        raise ApiError("NoSuchResourceException")
    return BY_CODE


def _page(params: Params) -> tuple[list[AnyQuota], dict[str, str]]:
    """Return the quotas of one page, and the token of the next one."""
    quotas = list(_quotas(params).values())
    start, size = int(params.get("NextToken") or 0), int(params.get("MaxResults") or 100)
    end = start + size
    return quotas[start:end], {"NextToken": str(end)} if end < len(quotas) else {}


def _named(params: Params) -> AnyQuota:
    quota = _quotas(params).get(str(params.get("QuotaCode")))
    if quota is None:
        message = "The request failed because the specified quota does not exist."
        raise ApiError("NoSuchResourceException", message)
    return quota


def services(environment: CloudEnvironment) -> Mapping[str, Service]:
    """Return the services to put in front of moto, by the service's name in signatures."""
    return {"servicequotas": ServiceQuotas(environment), "pricing": price_list}
