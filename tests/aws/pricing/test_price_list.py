"""Prices over a scripted Price List API and a simulated clock."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestrator.aws.client import Clients
from orchestrator.aws.ec2 import instances
from orchestrator.aws.pricing import price_list, price_table
from tests.support.aws.wire import RawBody, Time, session

GP3 = instances.Disk("gp3", 100)


def product(unit: str, usd: str, **attributes: str) -> str:
    """One entry of GetProducts' PriceList."""
    rate = {"unit": unit, "beginRange": "0", "endRange": "Inf", "pricePerUnit": {"USD": usd}}
    return json.dumps(
        {"product": {"attributes": attributes}, "terms": {"OnDemand": {"t": {"priceDimensions": {"r": rate}}}}}
    )


LIST = {
    "x9.large": [product("Hrs", "1.5000000000")],
    "gp3": [product("GB-Mo", "0.0800"), product("IOPS-Mo", "0.0050"), product("GiBps-mo", "40.9600")],
    "io2": [
        product("GB-Mo", "0.125"),
        product("IOPS-Mo", "0.065"),
        product("IOPS-Mo", "0.032", usagetype="EBS:VolumeP-IOPS.io2.tier2"),
    ],
}


class Aws:
    """A Price List API that records its requests."""

    def __init__(self) -> None:
        self.requested: list[str] = []
        self.answer: Callable[[str], Any] = lambda name: (200, {"PriceList": LIST.get(name, [])})

    def __call__(self, request: Any, **_: Any) -> Any:
        from botocore.awsrequest import AWSResponse

        body = json.loads(request.body)
        fields = {each["Field"]: each["Value"] for each in body["Filters"]}
        assert fields["regionCode"] == "us-west-2"
        assert "api.pricing.us-east-1" in request.url
        name = fields.get("instanceType") or fields["volumeApiName"]
        self.requested.append(name)
        status, found = self.answer(name)
        headers: Any = {"content-type": "application/x-amz-json-1.1"}
        return AWSResponse(request.url, status, headers, RawBody(json.dumps(found)))


class Computer:
    """The price file of one computer."""

    def __init__(self, folder: Path) -> None:
        self.aws, self.time, self.path = Aws(), Time(), folder / "prices.json"

    def prices(self, endpoint: str = "") -> price_list.PriceList:
        boto = session("a", "b")
        boto.events.register("before-send", self.aws)
        return price_list.PriceList(
            Clients(boto, region="us-west-2", clock=self.time.clock, sequential=True),
            self.path,
            endpoint=endpoint,
        )


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    return Computer(tmp_path)


def test_a_requested_price_precedes_the_table_and_has_its_date(computer: Computer) -> None:
    prices = computer.prices()
    prices.refresh(["x9.large"], ["gp3"])

    assert prices.per_hour("x9.large", "us-west-2") == price_table.Price(
        Decimal("1.5"), "AWS price list, asked 2026-11-20"
    )
    price = prices.disk_per_hour(GP3, "us-west-2")
    assert price is not None
    assert price.usd == Decimal(8) / 730


def test_a_price_of_the_last_day_is_not_requested_again_even_by_another_process(computer: Computer) -> None:
    computer.prices().refresh(["x9.large"])
    computer.time.seconds += timedelta(hours=23).total_seconds()
    again = computer.prices()
    again.refresh(["x9.large"])

    assert computer.aws.requested == ["x9.large"]
    computer.time.seconds += timedelta(hours=2).total_seconds()
    again.refresh(["x9.large"])
    assert computer.aws.requested == ["x9.large"] * 2


@pytest.mark.parametrize("status", [400, 403, 500, 501])
def test_without_an_answer_the_cached_price_counts_then_the_table_then_none(computer: Computer, status: int) -> None:
    computer.prices().refresh(["x9.large"])
    computer.time.seconds += timedelta(days=9).total_seconds()
    computer.aws.answer = lambda name: (status, {"__type": "AccessDeniedException", "message": "no"})
    prices = computer.prices()
    prices.refresh(["x9.large", "c7i.2xlarge", "y9.large"])

    old, table = prices.per_hour("x9.large", "us-west-2"), prices.per_hour("c7i.2xlarge", "us-west-2")
    assert old == price_table.Price(Decimal("1.5"), "AWS price list, asked 2026-11-20")
    assert table == price_table.per_hour("c7i.2xlarge", "us-west-2")
    assert prices.per_hour("y9.large", "us-west-2") is None


def test_a_price_of_zero_is_unknown(computer: Computer) -> None:
    computer.aws.answer = lambda name: (200, {"PriceList": [product("Hrs", "0.0000000000")]})
    prices = computer.prices()
    prices.refresh(["x9.large"])

    assert prices.per_hour("x9.large", "us-west-2") is None


def test_prices_of_other_endpoints_and_regions_are_separate(computer: Computer) -> None:
    computer.prices().refresh(["x9.large"])

    assert computer.prices("http://elsewhere:1").per_hour("x9.large", "us-west-2") is None
    assert computer.prices().per_hour("x9.large", "eu-west-1") is None


def test_the_price_of_a_disk_includes_performance_beyond_the_default(computer: Computer) -> None:
    prices = computer.prices()
    prices.refresh([], ["gp3", "io2"])
    fast = prices.disk_per_hour(instances.Disk("gp3", 100, 4000, 225), "us-west-2")
    sure = prices.disk_per_hour(instances.Disk("io2", 100, 1000), "us-west-2")

    assert fast is not None
    assert fast.usd == (8 + 1000 * Decimal("0.005") + 100 * Decimal("0.04")) / 730
    assert sure is not None
    assert sure.usd == (Decimal("12.5") + 65) / 730
    assert prices.disk_per_hour(instances.Disk("io2", 100, 64_000), "us-west-2") is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"aws us-west-2": 7}', '{"aws us-west-2": {"x9.large": {"usd": "x"}}}']
)
def test_an_invalid_price_file_is_ignored(computer: Computer, text: str) -> None:
    computer.path.write_text(text)
    prices = computer.prices()
    assert prices.per_hour("x9.large", "us-west-2") is None
    prices.refresh(["x9.large"])

    assert prices.per_hour("x9.large", "us-west-2") is not None


def test_a_price_file_that_cannot_be_written_is_ignored(computer: Computer) -> None:
    computer.path = computer.path / "no" / "folder"
    (computer.path.parent.parent).write_text("a file in the way")
    prices = computer.prices()
    prices.refresh(["x9.large"])

    assert prices.per_hour("x9.large", "us-west-2") is not None
