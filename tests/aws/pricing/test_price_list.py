"""Prices that are asked for: real botocore, a wire that answers as AWS's price list does, and a clock of our own."""

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
from tests.support.aws_wire import RawBody, Time, session

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
    """The price list, and how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: Callable[[str], Any] = lambda name: (200, {"PriceList": LIST.get(name, [])})

    def __call__(self, request: Any, **_: Any) -> Any:
        from botocore.awsrequest import AWSResponse

        body = json.loads(request.body)
        fields = {each["Field"]: each["Value"] for each in body["Filters"]}
        assert fields["regionCode"] == "us-west-2"
        assert "api.pricing.us-east-1" in request.url
        name = fields.get("instanceType") or fields["volumeApiName"]
        self.asked.append(name)
        status, found = self.answer(name)
        headers: Any = {"content-type": "application/x-amz-json-1.1"}
        return AWSResponse(request.url, status, headers, RawBody(json.dumps(found)))


class Desk:
    """One computer's prices."""

    def __init__(self, folder: Path) -> None:
        self.aws, self.time, self.path = Aws(), Time(), folder / "prices.json"

    def book(self, place: str = "") -> price_list.PriceList:
        made = session("a", "b")
        made.events.register("before-send", self.aws)
        return price_list.PriceList(
            Clients(made, region="us-west-2", clock=self.time.clock, sequential=True),
            self.path,
            endpoint=place,
        )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_an_asked_price_counts_more_than_the_table_and_says_when_it_was_asked(desk: Desk) -> None:
    book = desk.book()
    book.refresh(["x9.large"], ["gp3"])

    assert book.per_hour("x9.large", "us-west-2") == price_table.Price(
        Decimal("1.5"), "AWS price list, asked 2026-11-20"
    )
    price = book.disk_per_hour(GP3, "us-west-2")
    assert price is not None
    assert price.usd == Decimal(8) / 730


def test_an_answer_of_the_last_day_is_not_asked_for_again_not_even_by_another_shell(desk: Desk) -> None:
    desk.book().refresh(["x9.large"])
    desk.time.seconds += timedelta(hours=23).total_seconds()
    again = desk.book()
    again.refresh(["x9.large"])

    assert desk.aws.asked == ["x9.large"]
    desk.time.seconds += timedelta(hours=2).total_seconds()
    again.refresh(["x9.large"])
    assert desk.aws.asked == ["x9.large"] * 2


@pytest.mark.parametrize("status", [400, 403, 500, 501])
def test_without_an_answer_the_old_one_counts_with_its_date_then_the_table_then_it_is_unknown(
    desk: Desk, status: int
) -> None:
    desk.book().refresh(["x9.large"])
    desk.time.seconds += timedelta(days=9).total_seconds()
    desk.aws.answer = lambda name: (status, {"__type": "AccessDeniedException", "message": "no"})
    book = desk.book()
    book.refresh(["x9.large", "c7i.2xlarge", "y9.large"])

    old, table = book.per_hour("x9.large", "us-west-2"), book.per_hour("c7i.2xlarge", "us-west-2")
    assert old == price_table.Price(Decimal("1.5"), "AWS price list, asked 2026-11-20")
    assert table == price_table.per_hour("c7i.2xlarge", "us-west-2")
    assert book.per_hour("y9.large", "us-west-2") is None


def test_what_aws_has_no_price_for_is_never_nothing(desk: Desk) -> None:
    desk.aws.answer = lambda name: (200, {"PriceList": [product("Hrs", "0.0000000000")]})
    book = desk.book()
    book.refresh(["x9.large"])

    assert book.per_hour("x9.large", "us-west-2") is None


def test_another_clouds_prices_and_other_regions_prices_are_kept_apart(desk: Desk) -> None:
    desk.book().refresh(["x9.large"])

    assert desk.book("http://elsewhere:1").per_hour("x9.large", "us-west-2") is None
    assert desk.book().per_hour("x9.large", "eu-west-1") is None


def test_the_price_of_a_disk_counts_what_goes_beyond_the_included(desk: Desk) -> None:
    book = desk.book()
    book.refresh([], ["gp3", "io2"])
    fast = book.disk_per_hour(instances.Disk("gp3", 100, 4000, 225), "us-west-2")
    sure = book.disk_per_hour(instances.Disk("io2", 100, 1000), "us-west-2")

    assert fast is not None
    assert fast.usd == (8 + 1000 * Decimal("0.005") + 100 * Decimal("0.04")) / 730
    assert sure is not None
    assert sure.usd == (Decimal("12.5") + 65) / 730
    assert book.disk_per_hour(instances.Disk("io2", 100, 64_000), "us-west-2") is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"aws us-west-2": 7}', '{"aws us-west-2": {"x9.large": {"usd": "x"}}}']
)
def test_a_broken_file_of_prices_is_as_good_as_none(desk: Desk, text: str) -> None:
    desk.path.write_text(text)
    book = desk.book()
    assert book.per_hour("x9.large", "us-west-2") is None
    book.refresh(["x9.large"])

    assert book.per_hour("x9.large", "us-west-2") is not None


def test_a_full_disk_stops_no_launch(desk: Desk) -> None:
    desk.path = desk.path / "no" / "folder"
    (desk.path.parent.parent).write_text("a file in the way")
    book = desk.book()
    book.refresh(["x9.large"])

    assert book.per_hour("x9.large", "us-west-2") is not None
