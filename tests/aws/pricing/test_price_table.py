"""The dated table of prices."""

from __future__ import annotations

from decimal import Decimal

import pytest

from orchestrator.aws.ec2 import instances
from orchestrator.aws.pricing import price_table


@pytest.mark.parametrize(
    ("disk", "usd"),
    [
        (instances.Disk("gp3", 730), "0.08"),
        (instances.Disk("gp2", 730), "0.1"),
        (instances.Disk("io2", 730, iops=32_000), str(Decimal("0.125") + 32 * 65 / Decimal(730))),
        (instances.Disk("io2", 730, iops=1), str(Decimal("0.125") + Decimal("0.065") / 730)),
        (instances.Disk("io2", 730, iops=1000), str(Decimal("0.125") + 65 / Decimal(730))),
    ],
)
def test_a_disks_hour_is_its_month_over_730(disk: instances.Disk, usd: str) -> None:
    price = price_table.disk_per_hour(disk, "us-east-1")

    assert price is not None
    assert price.usd == pytest.approx(Decimal(usd))
    assert "2026-07" in price.source


@pytest.mark.parametrize(
    "disk",
    [
        instances.Disk("st1", 500),
        instances.Disk("io1", 75, iops=100),
        instances.Disk("gp3", 75, iops=3001),
        instances.Disk("gp3", 75, throughput=126),
        instances.Disk("io2", 75),
        instances.Disk("io2", 75, iops=32_001),
    ],
)
def test_a_disk_beyond_the_table_has_an_unknown_price(disk: instances.Disk) -> None:
    assert price_table.disk_per_hour(disk, "us-east-1") is None


def test_types_and_regions_beyond_the_table_have_an_unknown_price() -> None:
    assert price_table.per_hour("p3.2xlarge", "us-east-1") is None
    assert price_table.per_hour("c7i.2xlarge", "eu-central-1") is None
    assert price_table.disk_per_hour(instances.Disk("gp3", 75), "eu-central-1") is None


def test_us_west_2_has_the_prices_of_us_east_1_and_names_the_source() -> None:
    here, there = (price_table.per_hour("g5.xlarge", region) for region in ("us-west-2", "us-east-1"))

    assert here is not None
    assert there is not None
    assert here.usd == there.usd == Decimal("1.006")
    assert "us-west-2 is the same" in here.source


def test_the_table_is_a_source_of_prices_without_spot_prices() -> None:
    disk = instances.Disk("gp3", 75)

    assert price_table.TABLE.per_hour("c7i.2xlarge", "us-west-2") == price_table.per_hour("c7i.2xlarge", "us-west-2")
    assert price_table.TABLE.disk_per_hour(disk, "us-west-2") == price_table.disk_per_hour(disk, "us-west-2")
    assert price_table.TABLE.spot_per_hour("c7i.2xlarge", "us-west-2a") is None
