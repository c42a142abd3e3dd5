"""Prices as AWS tells them: asked when a launch is planned, kept on this computer with their date, never guessed.

An answer of the last day counts as it is. After that AWS is asked again; if it does not answer within seconds, the old
answer counts, with its date; then the dated table of :mod:`orchestrator.aws.pricing.price_table`;
then the price is unknown.
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
MAX_ENDPOINTS = 12

_MACHINE = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "licenseModel": "No License required",
}
# Unit of a price -> the part of a disk it is for, and how many of ours it has.
_PARTS = {"GB-Mo": ("gib", 1), "IOPS-Mo": ("iops", 1), "MiBps-Mo": ("mib_s", 1), "GiBps-mo": ("mib_s", 1024)}

Facts = dict[str, Any]


_REGION = "us-east-1"  # one of the few regions with an endpoint of the Price List Query API


class PriceList(price_table.Prices):
    """The prices of one region.

    :param path: where answers are kept.
    :param place: whose prices they are: the endpoint that was asked; empty for AWS itself.
    :param quick: seconds that AWS may take to answer.
    """

    def __init__(
        self,
        clients: Clients,
        path: Path,
        *,
        endpoint: str = "",
        timeout_s: float = parallel.OPTIONAL_TIMEOUT_S,
    ) -> None:
        self._clients = clients
        self._quick = timeout_s
        self._path = path
        self._place = f"{endpoint or 'aws'} {clients.region}"

    def per_hour(self, instance_type: str, region: str) -> price_table.Price | None:
        """Return what one running machine costs per hour without its disk; asks nobody."""
        usd = _number(self._facts(instance_type, region).get("usd"))
        if usd is None:
            return super().per_hour(instance_type, region)
        return price_table.Price(usd, self._source(instance_type))

    def disk_per_hour(self, disk: price_table.DiskLike, region: str) -> price_table.Price | None:
        """Return what one disk costs per hour; asks nobody."""
        name = f"disk {disk.type}"
        facts = {key: _number(value) for key, value in self._facts(name, region).items()}
        month = price_table.usd_per_month(disk, facts.get("gib"), facts.get("iops"), facts.get("mib_s"))
        if month is None:
            return super().disk_per_hour(disk, region)
        return price_table.Price(month / price_table.HOURS_PER_MONTH, self._source(name))

    def spot_per_hour(self, instance_type: str, zone: str) -> price_table.Price | None:
        """Return what one spot machine costs per hour without its disk, as asked last; asks nobody."""
        name = f"spot {instance_type} {zone}"
        usd = _number(self._facts(name, self._clients.region).get("usd"))
        return None if usd is None else price_table.Price(usd, self._source(name, "AWS spot price"))

    def refresh_spot(self, instance_types: Collection[str]) -> None:
        """Ask AWS for the spot prices of types in every zone, unless the last answer is of this hour."""
        stale = sorted(each for each in set(instance_types) if not self._fresh(f"spot {each}", SPOT_MAX_AGE))
        if not stale:
            return
        answer = parallel.gather(self._clients, {"spot": partial(self._spot, stale)}, timeout_s=self._quick)["spot"]
        if answer.value:
            today = self._clients.clock.now().isoformat(timespec="seconds")
            # A type that has no price anywhere was asked for, too.
            found: dict[str, Facts] = {f"spot {each}": {} for each in stale} | answer.value
            self._kept |= {name: {**facts, "asked": today} for name, facts in found.items()}
            self._save()

    def _spot(self, instance_types: Sequence[str]) -> dict[str, Facts]:
        wanted: Any = [*instance_types]
        pages = self._clients.ec2.get_paginator("describe_spot_price_history").paginate(
            InstanceTypes=wanted, ProductDescriptions=["Linux/UNIX"], StartTime=self._clients.clock.now()
        )
        newest = sorted((each for page in pages for each in page["SpotPriceHistory"]), key=lambda one: one["Timestamp"])
        return {f"spot {one['InstanceType']} {one['AvailabilityZone']}": {"usd": one["SpotPrice"]} for one in newest}

    def refresh(self, instance_types: Collection[str], disk_types: Collection[str] = ()) -> None:
        """Ask AWS for prices whose last answer is old; what it does not answer in time stays as it was."""
        asks: dict[str, Callable[[], Facts]] = {name: partial(self._machine, name) for name in instance_types}
        asks |= {f"disk {name}": partial(self._disk, name) for name in disk_types}
        stale = {name: ask for name, ask in asks.items() if not self._fresh(name)}
        if not stale:
            return
        answers = parallel.gather(self._clients, stale, timeout_s=self._quick)
        today = self._clients.clock.now().isoformat(timespec="seconds")
        found = {name: {**answer.value, "asked": today} for name, answer in answers.items() if answer.value}
        if found:
            self._kept |= found
            self._save()

    def _machine(self, instance_type: str) -> Facts:
        for product in self._products({**_MACHINE, "instanceType": instance_type}):
            for rate in _rates(product):
                usd = _number(rate.get("pricePerUnit", {}).get("USD"))
                # Types that are only reserved have an hourly price of nothing.
                if usd and rate.get("unit") == "Hrs":
                    return {"usd": str(usd)}
        return {}

    def _disk(self, disk_type: str) -> Facts:
        found: Facts = {}
        for product in self._products({"volumeApiName": disk_type}):
            if ".tier" in product.get("product", {}).get("attributes", {}).get("usagetype", ""):
                continue  # what lies beyond the first tier costs less
            for rate in _rates(product):
                part, size = _PARTS.get(str(rate.get("unit")), ("", 1))
                usd = _number(rate.get("pricePerUnit", {}).get("USD"))
                if part and usd and rate.get("beginRange", "0") == "0":
                    found[part] = str(usd / size)
        return found

    @property
    def _pricing(self) -> Any:
        return self._clients.service("pricing", attempts=1, timeout_s=OPTIONAL_TIMEOUT_S, region=_REGION)

    def _products(self, wanted: Mapping[str, str]) -> Iterator[Facts]:
        fields = {**wanted, "regionCode": self._clients.region}
        answer = self._pricing.get_products(
            ServiceCode="AmazonEC2",
            Filters=[{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in fields.items()],
        )
        yield from map(json.loads, answer["PriceList"])

    # -- what is kept

    @cached_property
    def _all(self) -> dict[str, dict[str, Facts]]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def _kept(self) -> dict[str, Facts]:
        found = self._all.setdefault(self._place, {})
        return found if isinstance(found, dict) else {}

    @_kept.setter
    def _kept(self, found: dict[str, Facts]) -> None:
        self._all[self._place] = found

    def _facts(self, name: str, region: str) -> Facts:
        found = self._kept.get(name) if region == self._clients.region else None
        return found if isinstance(found, dict) else {}

    def _asked(self, name: str) -> datetime | None:
        try:
            return datetime.fromisoformat(str(self._facts(name, self._clients.region)["asked"]))
        except (KeyError, ValueError):
            return None

    def _fresh(self, name: str, lasts: timedelta = MAX_AGE) -> bool:
        asked = self._asked(name)
        return asked is not None and timedelta(0) <= self._clients.clock.now() - asked < lasts

    def _source(self, name: str, what: str = "AWS price list") -> str:
        asked = self._asked(name)
        return f"{what}, asked {asked:%Y-%m-%d}" if asked else f"{what}, asked some day"

    def _save(self) -> None:
        """Keep the answers; a disk that is full must not stop a launch."""
        kept = dict(list(self._all.items())[-MAX_ENDPOINTS:])
        part = self._path.with_suffix(".part")
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(kept, indent=1), encoding="utf-8")
            part.replace(self._path)


def _rates(product: Facts) -> Iterator[Facts]:
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        yield from term.get("priceDimensions", {}).values()


def _number(text: object) -> Decimal | None:
    try:
        value = Decimal(str(text)) if text is not None else None
    except InvalidOperation:
        return None
    return value if value is not None and value.is_finite() and value > 0 else None
