"""Prices of the AWS Price List, requested when a launch is planned and cached on this computer with their date.

A cached price of the last day is used as it is. Otherwise it is requested again; without an answer within seconds, the
cached price is used, with its date; then the table of :mod:`orchestrator.aws.pricing.price_table`; then it is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.aws import parallel
from orchestrator.aws.client import OPTIONAL_TIMEOUT_S
from orchestrator.aws.pricing import price_table

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients

MAX_AGE = timedelta(days=1)
SPOT_MAX_AGE = timedelta(hours=1)
MAX_ENDPOINTS = 12  # in the file; tests and rehearsals use a new endpoint every time

# Selects one of the many products of an instance type; "Used" excludes capacity reservations.
_INSTANCE = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "licenseModel": "No License required",
}
# Unit of a price -> the part of a disk that it is for, and its size in our unit of that part.
_PARTS = {"GB-Mo": ("gib", 1), "IOPS-Mo": ("iops", 1), "MiBps-Mo": ("mib_s", 1), "GiBps-mo": ("mib_s", 1024)}
# One of the few regions with an endpoint of the Price List API:
# https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html
_REGION = "us-east-1"
_EC2 = "AmazonEC2"

CachedPrice = dict[str, Any]
"""Prices of one instance type or disk type, as the file holds them: text, and the date under ``asked``."""


class PriceList:
    """The prices of one region.

    :param path: file of the cached prices.
    :param endpoint: whose prices they are: the endpoint of the clients; empty for AWS itself.
    :param timeout_s: seconds that AWS may take to answer.
    """

    def __init__(
        self, clients: Clients, path: Path, *, endpoint: str = "", timeout_s: float = parallel.OPTIONAL_TIMEOUT_S
    ) -> None:
        self._clients = clients
        self._timeout_s = timeout_s
        self._path = path
        self._endpoint = f"{endpoint or 'aws'} {clients.region}"

    def per_hour(self, instance_type: str, region: str) -> price_table.Price | None:
        """Return the price per hour of one running instance without its disk; makes no API call."""
        usd = _decimal(self._cached(instance_type, region).get("usd"))
        if usd is None:
            return price_table.per_hour(instance_type, region)
        return price_table.Price(usd, self._source(instance_type))

    def disk_per_hour(self, disk: price_table.DiskLike, region: str) -> price_table.Price | None:
        """Return the price per hour of one disk; makes no API call."""
        name = f"disk {disk.type}"
        parts = {part: _decimal(value) for part, value in self._cached(name, region).items()}
        usd_per_month = price_table.usd_per_month(disk, parts.get("gib"), parts.get("iops"), parts.get("mib_s"))
        if usd_per_month is None:
            return price_table.disk_per_hour(disk, region)
        return price_table.Price(usd_per_month / price_table.HOURS_PER_MONTH, self._source(name))

    def spot_per_hour(self, instance_type: str, zone: str) -> price_table.Price | None:
        """Return the last known spot price per hour of one instance without its disk; makes no API call."""
        name = f"spot {instance_type} {zone}"
        usd = _decimal(self._cached(name, self._clients.region).get("usd"))
        return None if usd is None else price_table.Price(usd, self._source(name, "AWS spot price"))

    def refresh_spot(self, instance_types: Collection[str]) -> None:
        """Request the spot prices of instance types in every zone that were not requested within the last hour."""
        outdated = sorted(name for name in set(instance_types) if not self._is_fresh(f"spot {name}", SPOT_MAX_AGE))
        if not outdated:
            return
        call = {"spot": partial(self._request_spot, outdated)}
        result = parallel.gather(self._clients, call, timeout_s=self._timeout_s)["spot"]
        if result.value:
            # Also note types without a price in any zone: they were requested, too.
            self._store({f"spot {name}": {} for name in outdated} | result.value)

    def _request_spot(self, instance_types: Sequence[str]) -> dict[str, CachedPrice]:
        wanted: Any = [*instance_types]
        pages = self._clients.ec2.get_paginator("describe_spot_price_history").paginate(
            InstanceTypes=wanted, ProductDescriptions=["Linux/UNIX"], StartTime=self._clients.clock.now()
        )
        # With the present as start, the history is the current price of every zone.
        history = [price for page in pages for price in page["SpotPriceHistory"]]
        history.sort(key=lambda price: price["Timestamp"])
        return {
            f"spot {price['InstanceType']} {price['AvailabilityZone']}": {"usd": price["SpotPrice"]}
            for price in history
        }

    def refresh(self, instance_types: Collection[str], disk_types: Collection[str] = ()) -> None:
        """Request prices that were not requested within the last day; those without an answer in time stay."""
        calls: dict[str, Callable[[], CachedPrice]] = {
            name: partial(self._request_instance, name) for name in instance_types
        }
        calls |= {f"disk {name}": partial(self._request_disk, name) for name in disk_types}
        self._refresh(calls)

    def service_per_hour(self, name: str) -> price_table.Price | None:
        """Return the cached price per hour of a product of another service than EC2; makes no API call."""
        usd = _decimal(self._cached(name, self._clients.region).get("usd"))
        return None if usd is None else price_table.Price(usd, self._source(name))

    def refresh_service(self, service_code: str, products: Mapping[str, Mapping[str, str]]) -> None:
        """Request hourly prices of a service that were not requested within the last day.

        :param service_code: such as ``AmazonSageMaker``.
        :param products: name of the price in the file -> attributes that select the product.
        """
        self._refresh({name: partial(self._request_hourly, service_code, fields) for name, fields in products.items()})

    def _refresh(self, calls: Mapping[str, Callable[[], CachedPrice]]) -> None:
        outdated = {name: call for name, call in calls.items() if not self._is_fresh(name)}
        if not outdated:
            return
        results = parallel.gather(self._clients, outdated, timeout_s=self._timeout_s)
        prices = {name: result.value for name, result in results.items() if result.value}
        if prices:
            self._store(prices)

    def _request_instance(self, instance_type: str) -> CachedPrice:
        return self._request_hourly(_EC2, {**_INSTANCE, "instanceType": instance_type})

    def _request_hourly(self, service_code: str, fields: Mapping[str, str]) -> CachedPrice:
        for product in self._products(fields, service_code):
            for rate in _rates(product):
                usd = _decimal(rate.get("pricePerUnit", {}).get("USD"))
                # Types that can only be reserved have an hourly price of zero.
                if usd and rate.get("unit") == "Hrs":
                    return {"usd": str(usd)}
        return {}

    def _request_disk(self, disk_type: str) -> CachedPrice:
        parts: CachedPrice = {}
        for product in self._products({"volumeApiName": disk_type}):
            if ".tier" in product.get("product", {}).get("attributes", {}).get("usagetype", ""):
                continue  # price beyond the first tier
            for rate in _rates(product):
                part, size = _PARTS.get(str(rate.get("unit")), ("", 1))
                usd = _decimal(rate.get("pricePerUnit", {}).get("USD"))
                if part and usd and rate.get("beginRange", "0") == "0":
                    parts[part] = str(usd / size)
        return parts

    @property
    def _pricing(self) -> Any:
        return self._clients.service("pricing", attempts=1, timeout_s=OPTIONAL_TIMEOUT_S, region=_REGION)

    def _products(self, fields: Mapping[str, str], service_code: str = _EC2) -> Iterator[dict[str, Any]]:
        response = self._pricing.get_products(
            ServiceCode=service_code,
            Filters=[
                {"Type": "TERM_MATCH", "Field": field, "Value": value}
                for field, value in {**fields, "regionCode": self._clients.region}.items()
            ],
        )
        yield from map(json.loads, response["PriceList"])

    # -- the file: endpoint and region -> name -> price

    @cached_property
    def _file(self) -> dict[str, dict[str, CachedPrice]]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    @property
    def _prices(self) -> dict[str, CachedPrice]:
        prices = self._file.get(self._endpoint, {})
        return prices if isinstance(prices, dict) else {}

    def _cached(self, name: str, region: str) -> CachedPrice:
        price = self._prices.get(name) if region == self._clients.region else None
        return price if isinstance(price, dict) else {}

    def _requested_at(self, name: str) -> datetime | None:
        try:
            return datetime.fromisoformat(str(self._cached(name, self._clients.region)["asked"]))
        except (KeyError, ValueError):
            return None

    def _is_fresh(self, name: str, max_age: timedelta = MAX_AGE) -> bool:
        time = self._requested_at(name)
        return time is not None and timedelta(0) <= self._clients.clock.now() - time < max_age

    def _source(self, name: str, source: str = "AWS price list") -> str:
        time = self._requested_at(name)
        return f"{source}, asked {time:%Y-%m-%d}" if time else f"{source}, date unknown"

    def _store(self, prices: Mapping[str, CachedPrice]) -> None:
        """Store prices with the present date; a full disk must not prevent a launch."""
        now = self._clients.clock.now().isoformat(timespec="seconds")
        self._file[self._endpoint] = self._prices | {name: {**price, "asked": now} for name, price in prices.items()}
        content = dict(list(self._file.items())[-MAX_ENDPOINTS:])
        draft = self._path.with_suffix(".part")  # renamed when complete: another process never reads half a file
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(content, indent=1), encoding="utf-8")
            draft.replace(self._path)


def _rates(product: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        yield from term.get("priceDimensions", {}).values()


def _decimal(text: object) -> Decimal | None:
    try:
        value = Decimal(str(text)) if text is not None else None
    except InvalidOperation:
        return None
    return value if value is not None and value.is_finite() and value > 0 else None
