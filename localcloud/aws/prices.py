"""What machines and disks cost in this cloud: a dated table, told by the Pricing API and the spot price history.

On demand, Linux, USD, July 2026. Only what stands here has a price; of anything else the Pricing API knows nothing, as
AWS's knows nothing of names that it has no product for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

USD_PER_HOUR = {
    "g4dn.xlarge": 0.526,
    "g6.xlarge": 0.8048,
    "g5.xlarge": 1.006,
    "g6e.xlarge": 1.861,
    "g6.12xlarge": 4.602,
    "g5.12xlarge": 5.672,
    "p4d.24xlarge": 21.958,
    "p5.4xlarge": 6.88,
    "p5.48xlarge": 55.04,
    "c7i.2xlarge": 0.357,
    "c5.2xlarge": 0.34,
    "m7i.2xlarge": 0.4032,
}
DISKS_PER_GB_MONTH = {"gp3": 0.08, "gp2": 0.10, "io2": 0.125}
IOPS_MONTH = {"io2": 0.065}
LOCATIONS = {"us-east-1": ("US East (N. Virginia)", ""), "us-west-2": ("US West (Oregon)", "USW2-")}

_DATE = "2026-07-01T00:00:00Z"
# AWS's codes for "on demand" and "per hour"; every product's terms carry them.
_OFFER, _RATE = "JRTCKXETXF", "6YS6EN2CT7"
# Of a machine that is used, of one whose reservation waits, and of one whose reservation was paid elsewhere.
_CAPACITY = {"Used": 1.0, "UnusedCapacityReservation": 1.0, "AllocatedCapacityReservation": 0.0}
# Spot machines cost about a third, a little more or less in each zone.
_SPOT_PART = {"a": 0.38, "b": 0.35, "c": 0.41}


def default_spot_price(kind: str, zone: str) -> float | None:
    """USD an hour for a spot machine on an ordinary day; None for types without a price."""
    if kind not in USD_PER_HOUR:
        return None
    return round(USD_PER_HOUR[kind] * _SPOT_PART.get(zone[-1:], 0.4), 4)


def products() -> list[dict[str, Any]]:
    """Everything that has a price, as the Pricing API describes it."""
    made = []
    for region in LOCATIONS:
        for kind, price in USD_PER_HOUR.items():
            made += [_machine(region, kind, state, price * part) for state, part in _CAPACITY.items()]
        made += [_disk(region, kind, price) for kind, price in DISKS_PER_GB_MONTH.items()]
        made += [_iops(region, kind, price) for kind, price in IOPS_MONTH.items()]
    return made


def get_products(params: dict[str, Any]) -> dict[str, Any]:
    """The answer of GetProducts; every filter is TERM_MATCH, as AWS's only kind used to be."""
    wanted = {each["Field"]: each["Value"] for each in params.get("Filters", [])}
    found = [one for one in products() if _matches(one, {"servicecode": params.get("ServiceCode"), **wanted})]
    start, most = int(params.get("NextToken") or 0), int(params.get("MaxResults") or 100)
    answer = {"FormatVersion": "aws_v1", "PriceList": [json.dumps(one) for one in found[start : start + most]]}
    return {**answer, "NextToken": str(start + most)} if start + most < len(found) else answer


def _matches(product: dict[str, Any], wanted: dict[str, Any]) -> bool:
    known = {**product["product"]["attributes"], "productFamily": product["product"]["productFamily"]}
    return all(known.get(field) == value for field, value in wanted.items() if value is not None)


def _machine(region: str, kind: str, capacity: str, price: float) -> dict[str, Any]:
    from localcloud.aws.quotas import vcpus

    usage = dict(zip(_CAPACITY, ("BoxUsage", "UnusedBox", "Reservation"), strict=True))
    attributes = {
        "instanceType": kind,
        "operatingSystem": "Linux",
        "preInstalledSw": "NA",
        "tenancy": "Shared",
        "capacitystatus": capacity,
        "licenseModel": "No License required",
        "marketoption": "OnDemand",
        "operation": "RunInstances",
        "vcpu": str(vcpus(kind)),
        "usagetype": f"{LOCATIONS[region][1]}{usage[capacity]}:{kind}",
    }
    words = f"${price:g} per On Demand Linux {kind} Instance Hour"
    return _product(region, "Compute Instance", attributes, _Price(price, "Hrs", words))


def _disk(region: str, kind: str, price: float) -> dict[str, Any]:
    usage = f"{LOCATIONS[region][1]}EBS:VolumeUsage.{kind}"
    attributes = {"volumeApiName": kind, "operation": "", "usagetype": usage}
    words = f"${price:g} per GB-month of {kind} provisioned storage"
    return _product(region, "Storage", attributes, _Price(price, "GB-Mo", words))


def _iops(region: str, kind: str, price: float) -> dict[str, Any]:
    usage = f"{LOCATIONS[region][1]}EBS:VolumeP-IOPS.{kind}"
    attributes = {"volumeApiName": kind, "group": "EBS IOPS", "operation": "", "usagetype": usage}
    words = f"${price:g} per IOPS-month provisioned ({kind})"
    return _product(region, "System Operation", attributes, _Price(price, "IOPS-Mo", words))


class _Price:
    def __init__(self, dollars: float, unit: str, words: str) -> None:
        self.usd, self.unit, self.description = dollars, unit, words


def _product(region: str, family: str, attributes: dict[str, str], price: _Price) -> dict[str, Any]:
    where = {"location": LOCATIONS[region][0], "locationType": "AWS Region", "regionCode": region}
    attributes = {"servicecode": "AmazonEC2", "servicename": "Amazon Elastic Compute Cloud", **where, **attributes}
    sku = hashlib.sha256("/".join(attributes.values()).encode()).hexdigest()[:16].upper()
    rate = {
        "unit": price.unit,
        "beginRange": "0",
        "endRange": "Inf",
        "description": price.description,
        "appliesTo": [],
        "rateCode": f"{sku}.{_OFFER}.{_RATE}",
        "pricePerUnit": {"USD": f"{price.usd:.10f}"},
    }
    term = {
        "sku": sku,
        "offerTermCode": _OFFER,
        "effectiveDate": _DATE,
        "termAttributes": {},
        "priceDimensions": {f"{sku}.{_OFFER}.{_RATE}": rate},
    }
    return {
        "product": {"productFamily": family, "sku": sku, "attributes": attributes},
        "serviceCode": "AmazonEC2",
        "terms": {"OnDemand": {f"{sku}.{_OFFER}": term}},
        "version": "20260701000000",
        "publicationDate": _DATE,
    }


def spot_types(kinds: Iterable[str]) -> list[str]:
    """Those of some types that have a spot price; of none, all that have."""
    return [kind for kind in (kinds or USD_PER_HOUR) if kind in USD_PER_HOUR]
