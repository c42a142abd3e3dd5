"""Prices of SageMaker's instances, by the embedded cloud's Price List API and by the table."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from localcloud.scenarios.scenario import make_fault
from orchestrator.aws.sagemaker.uses import Use
from tests.support.simulated_project import SimulatedProject

Simulate = Callable[..., SimulatedProject]


def test_the_price_list_precedes_the_table_and_knows_every_use(simulate: Simulate) -> None:
    prices = simulate().session().context.managed_prices
    before = prices.per_hour("ml.g5.xlarge", Use.TRAINING)
    prices.refresh(["ml.g5.xlarge", "ml.x9.large"], Use.TRAINING)
    prices.refresh(["ml.g5.xlarge"], Use.TRANSFORM)
    after, transform = (prices.per_hour("ml.g5.xlarge", use) for use in (Use.TRAINING, Use.TRANSFORM))

    assert before is not None
    assert before.source == "SageMaker table of 2026, us-west-2"
    assert after is not None
    assert transform is not None
    assert after.usd == transform.usd == before.usd == Decimal("1.408")
    assert after.source.startswith("AWS price list, asked ")
    assert prices.per_hour("ml.x9.large", Use.TRAINING) is None


def test_without_an_answer_the_table_counts_and_has_no_price_for_transform(simulate: Simulate) -> None:
    prices = simulate(make_fault("denied", action="pricing:GetProducts")).session().context.managed_prices
    prices.refresh(["ml.m5.xlarge"], Use.HOSTING)
    hosting = prices.per_hour("ml.m5.xlarge", Use.HOSTING)

    assert hosting is not None
    assert hosting.usd == Decimal("0.23")
    assert prices.per_hour("ml.m5.xlarge", Use.TRANSFORM) is None


@pytest.mark.parametrize("region", ["eu-central-1"])
def test_regions_beyond_the_table_have_an_unknown_price(simulate: Simulate, region: str) -> None:
    context = simulate().session().context
    prices = type(context.managed_prices)(context.prices, region)

    assert prices.per_hour("ml.m5.xlarge", Use.TRAINING) is None
