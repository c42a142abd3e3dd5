"""Prices of instances and disks: dated tables, served by the Pricing API and the spot price history.

On demand, Linux, USD, July 2026. The Pricing API finds no products for what is not in the table, as AWS's API does for
unknown names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from localcloud.aws import sagemaker_catalog

USD_PER_HOUR = {
    "t3.nano": 0.0052,
    "t3.micro": 0.0104,
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
PUBLIC_ADDRESS_PER_HOUR = 0.005  # IPv4, in every region: https://aws.amazon.com/vpc/pricing/
LOCATIONS = {"us-east-1": ("US East (N. Virginia)", ""), "us-west-2": ("US West (Oregon)", "USW2-")}

_COMPONENT_USAGE = {"Training": "Train", "Hosting": "Host", "Transform": "Tsform", "Processing": "Processing"}
_DATE = "2026-07-01T00:00:00Z"
# AWS's codes for "on demand" and "per hour", which are in every product's terms.
_OFFER, _RATE = "JRTCKXETXF", "6YS6EN2CT7"
# Share of the price by capacity status: in use, reserved but unused, and reserved with the price paid elsewhere.
_CAPACITY = {"Used": 1.0, "UnusedCapacityReservation": 1.0, "AllocatedCapacityReservation": 0.0}
# Spot instances cost about a third, slightly different in each zone.
_SPOT_SHARE = {"a": 0.38, "b": 0.35, "c": 0.41}


def default_spot_price(instance_type: str, zone: str) -> float | None:
    """Return USD per hour for a spot instance without a scenario; None for types without a price."""
    if instance_type not in USD_PER_HOUR:
        return None
    return round(USD_PER_HOUR[instance_type] * _SPOT_SHARE.get(zone[-1:], 0.4), 4)


def products() -> list[dict[str, Any]]:
    """Return everything that has a price, as the Pricing API describes it."""
    records = []
    for region in LOCATIONS:
        for kind, price in USD_PER_HOUR.items():
            records += [_machine(region, kind, state, price * share) for state, share in _CAPACITY.items()]
        records += [_disk(region, kind, price) for kind, price in DISKS_PER_GB_MONTH.items()]
        records += [_iops(region, kind, price) for kind, price in IOPS_MONTH.items()]
        for kind, price in sagemaker_catalog.USD_PER_HOUR.items():
            records += [_managed(region, kind, component, price) for component in sagemaker_catalog.COMPONENTS]
    return records


def get_products(params: dict[str, Any]) -> dict[str, Any]:
    """Answer GetProducts; every filter is TERM_MATCH."""
    wanted = {rule["Field"]: rule["Value"] for rule in params.get("Filters", [])}
    matches = [
        product for product in products() if _matches(product, {"servicecode": params.get("ServiceCode"), **wanted})
    ]
    start, page_size = int(params.get("NextToken") or 0), int(params.get("MaxResults") or 100)
    answer = {
        "FormatVersion": "aws_v1",
        "PriceList": [json.dumps(product) for product in matches[start : start + page_size]],
    }
    return {**answer, "NextToken": str(start + page_size)} if start + page_size < len(matches) else answer


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
    description = f"${price:g} per On Demand Linux {kind} Instance Hour"
    return _product(region, "Compute Instance", attributes, _Price(price, "Hrs", description))


def _disk(region: str, kind: str, price: float) -> dict[str, Any]:
    usage = f"{LOCATIONS[region][1]}EBS:VolumeUsage.{kind}"
    attributes = {"volumeApiName": kind, "operation": "", "usagetype": usage}
    description = f"${price:g} per GB-month of {kind} provisioned storage"
    return _product(region, "Storage", attributes, _Price(price, "GB-Mo", description))


def _iops(region: str, kind: str, price: float) -> dict[str, Any]:
    usage = f"{LOCATIONS[region][1]}EBS:VolumeP-IOPS.{kind}"
    attributes = {"volumeApiName": kind, "group": "EBS IOPS", "operation": "", "usagetype": usage}
    description = f"${price:g} per IOPS-month provisioned ({kind})"
    return _product(region, "System Operation", attributes, _Price(price, "IOPS-Mo", description))


def _managed(region: str, kind: str, component: str, price: float) -> dict[str, Any]:
    attributes = {
        "servicecode": "AmazonSageMaker",
        "servicename": "Amazon SageMaker",
        "instanceName": kind,
        "component": component,
        "usagetype": f"{LOCATIONS[region][1]}{_COMPONENT_USAGE[component]}:{kind}",
    }
    description = f"${price:g} per {component} {kind} hour in {LOCATIONS[region][0]}"
    return _product(region, "ML Instance", attributes, _Price(price, "Hrs", description))


class _Price:
    def __init__(self, usd: float, unit: str, description: str) -> None:
        self.usd, self.unit, self.description = usd, unit, description


def _product(region: str, family: str, attributes: dict[str, str], price: _Price) -> dict[str, Any]:
    where = {"location": LOCATIONS[region][0], "locationType": "AWS Region", "regionCode": region}
    attributes = {"servicecode": "AmazonEC2", "servicename": "Amazon Elastic Compute Cloud", **where, **attributes}
    # Derived from the attributes, so that a SKU is the same after a restart.
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
        "serviceCode": attributes["servicecode"],
        "terms": {"OnDemand": {f"{sku}.{_OFFER}": term}},
        "version": "20260701000000",
        "publicationDate": _DATE,
    }


def spot_types(instance_types: Iterable[str]) -> list[str]:
    """Return those of the given types that have a spot price; all types that have one, if none is given."""
    return [instance_type for instance_type in (instance_types or USD_PER_HOUR) if instance_type in USD_PER_HOUR]
