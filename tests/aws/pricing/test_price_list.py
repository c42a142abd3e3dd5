"""Prices over a scripted Price List API and a simulated clock."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

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
    "gp9": [product("GB-Mo", "0.0800"), product("MiBps-Mo", "0.0500")],
    "io2": [
        product("GB-Mo", "0.125"),
        product("IOPS-Mo", "0.065"),
        product("IOPS-Mo", "0.032", usagetype="EBS:VolumeP-IOPS.io2.tier2"),
    ],
}

SPOT_PRICES = [
    ("x9.large", "us-west-2a", "0.5000", "2026-11-20T14:00:00Z"),
    ("x9.large", "us-west-2b", "0.6000", "2026-11-20T13:00:00Z"),
    ("x9.large", "us-west-2a", "0.4000", "2026-11-20T12:00:00Z"),
]


class Aws:
    """A Price List API that records its requests."""

    def __init__(self) -> None:
        self.requested: list[str] = []
        self.spot = True
        self.timeouts_s: set[float] = set()
        self.answer: Callable[[str], Any] = lambda name: (200, {"PriceList": LIST.get(name, [])})

    def note_timeout(self, params: dict[str, Any], **_: Any) -> None:
        """Record the read timeout of a request."""
        self.timeouts_s.add(params["context"]["client_config"].read_timeout)

    def __call__(self, request: Any, **_: Any) -> Any:
        from botocore.awsrequest import AWSResponse

        text = request.body.decode() if isinstance(request.body, bytes) else request.body
        if "DescribeSpotPriceHistory" in text:
            return self.spot_prices(request.url, text)
        body = json.loads(text)
        fields = {each["Field"]: each["Value"] for each in body["Filters"]}
        assert fields["regionCode"] == "us-west-2"
        assert "api.pricing.us-east-1" in request.url
        name = fields.get("instanceType") or fields["volumeApiName"]
        self.requested.append(name)
        status, found = self.answer(name)
        headers: Any = {"content-type": "application/x-amz-json-1.1"}
        return AWSResponse(request.url, status, headers, RawBody(json.dumps(found)))

    def spot_prices(self, url: str, body: str) -> Any:
        """Answer with the spot prices of the types that were asked for, the newest first, as EC2 does."""
        from botocore.awsrequest import AWSResponse

        fields = {key: values[0] for key, values in parse_qs(body).items()}
        assert fields["ProductDescription.1"] == "Linux/UNIX"
        assert fields["StartTime"].startswith("2026-11-20T")
        types = [value for key, value in fields.items() if key.startswith("InstanceType.")]
        self.requested += types or ["all types"]
        items = "".join(
            f"<item><instanceType>{name}</instanceType><spotPrice>{usd}</spotPrice><timestamp>{time}</timestamp>"
            f"<availabilityZone>{zone}</availabilityZone></item>"
            for name, zone, usd, time in SPOT_PRICES
            if name in types
        )
        text = f"<R><spotPriceHistorySet>{items}</spotPriceHistorySet></R>"
        headers: Any = {}
        return AWSResponse(url, 200 if self.spot else 500, headers, RawBody(text))


class Computer:
    """The price file of one computer."""

    def __init__(self, folder: Path) -> None:
        self.aws, self.time, self.path = Aws(), Time(), folder / "prices.json"

    def prices(self, endpoint: str = "") -> price_list.PriceList:
        boto = session("a", "b")
        boto.events.register("before-send", self.aws)
        boto.events.register("before-call.pricing", self.aws.note_timeout)
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

    # Once each: what can be estimated must not delay a launch.
    assert sorted(computer.aws.requested[1:]) == ["c7i.2xlarge", "x9.large", "y9.large"]
    old, table = prices.per_hour("x9.large", "us-west-2"), prices.per_hour("c7i.2xlarge", "us-west-2")
    assert old == price_table.Price(Decimal("1.5"), "AWS price list, asked 2026-11-20")
    assert table == price_table.per_hour("c7i.2xlarge", "us-west-2")
    assert prices.per_hour("y9.large", "us-west-2") is None


def test_a_price_is_requested_once_and_briefly(computer: Computer) -> None:
    computer.aws.answer = lambda name: (500, {"__type": "InternalErrorException", "message": "later"})
    computer.prices().refresh(["x9.large"])

    assert computer.aws.requested == ["x9.large"]
    assert computer.aws.timeouts_s == {4}


def test_throughput_may_be_priced_by_mib_per_second(computer: Computer) -> None:
    prices = computer.prices()
    prices.refresh([], ["gp9"])
    price = prices.disk_per_hour(instances.Disk("gp9", 100, throughput=225), "us-west-2")

    assert price is not None
    assert price.usd == Decimal(8 + 5) / 730


def test_spot_prices_are_the_latest_of_each_zone_and_hold_for_an_hour(computer: Computer) -> None:
    prices = computer.prices()
    prices.refresh_spot(["x9.large", "y9.large", "x9.large"])
    prices.refresh_spot(["x9.large", "y9.large"])

    assert computer.aws.requested == ["x9.large", "y9.large"]
    assert prices.spot_per_hour("x9.large", "us-west-2a") == price_table.Price(
        Decimal("0.5"), "AWS spot price, asked 2026-11-20"
    )
    other = computer.prices().spot_per_hour("x9.large", "us-west-2b")
    assert other is not None
    assert other.usd == Decimal("0.6")
    assert prices.spot_per_hour("y9.large", "us-west-2a") is None
    computer.time.seconds += timedelta(hours=1).total_seconds()
    prices.refresh_spot(["x9.large"])
    assert computer.aws.requested == ["x9.large", "y9.large", "x9.large"]


def test_without_an_answer_the_last_spot_price_counts(computer: Computer) -> None:
    prices = computer.prices()
    prices.refresh_spot(["x9.large"])
    computer.time.seconds += timedelta(hours=2).total_seconds()
    computer.aws.spot = False
    prices.refresh_spot(["x9.large"])

    price = prices.spot_per_hour("x9.large", "us-west-2a")
    assert price is not None
    assert price.usd == Decimal("0.5")


def test_prices_are_kept_in_a_new_folder(computer: Computer) -> None:
    computer.path = computer.path.parent / "new" / "folder" / "prices.json"
    computer.prices().refresh(["x9.large"])

    assert computer.prices().per_hour("x9.large", "us-west-2") is not None
    assert [path.name for path in computer.path.parent.iterdir()] == ["prices.json"]


def test_rates_without_a_price_and_those_of_further_ranges_are_left_out(computer: Computer) -> None:
    hourly = [product("Quantity", "9.0000"), product("Hrs", "1.5000")]
    first, further = product("GB-Mo", "0.0800"), product("GB-Mo", "0.0100").replace('"0"', '"1000"', 1)
    free, other = product("IOPS-Mo", "0.0000"), product("Snapshots", "9.0000")
    computer.aws.answer = lambda name: (
        200,
        {"PriceList": hourly if name == "x9.large" else [free, first, further, other]},
    )
    prices = computer.prices()
    assert prices.disk_per_hour(GP3, "us-west-2") == price_table.disk_per_hour(GP3, "us-west-2")
    prices.refresh(["x9.large"], ["gp3"])

    vm = prices.per_hour("x9.large", "us-west-2")
    assert vm is not None
    assert vm.usd == Decimal("1.5")
    price = prices.disk_per_hour(GP3, "us-west-2")
    assert price is not None
    assert (price.usd, price.source) == (Decimal(8) / 730, "AWS price list, asked 2026-11-20")


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
    "text",
    [
        "",
        "{",
        "[]",
        '{"aws us-west-2": 7}',
        '{"aws us-west-2": {"x9.large": {"usd": "x"}}}',
        '{"aws us-west-2": {"x9.large": {"usd": "0"}}}',
        '{"aws us-west-2": {"x9.large": {"usd": "-1"}}}',
        '{"aws us-west-2": {"x9.large": {"usd": "inf"}}}',
    ],
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
