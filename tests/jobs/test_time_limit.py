"""Limits of time and money of what SageMaker runs."""

from __future__ import annotations

from decimal import Decimal

import pytest

from orchestrator.config.options import ClusterSettings
from orchestrator.core.errors import UsageError
from orchestrator.jobs.managed.time_limit import limit_s


@pytest.mark.parametrize(
    ("cluster", "options", "expected"),
    [
        (ClusterSettings(max_hours=2), {}, 7200),
        (ClusterSettings(max_hours=2), {"max_hours": 3}, 10800),
        (ClusterSettings(max_hours=2, max_dollars=1), {}, 3600),
        (ClusterSettings(max_hours=2, max_dollars=1), {"kept_s": 600}, 3000),
        (ClusterSettings(max_hours=2, max_dollars=50), {}, 7200),
    ],
)
def test_the_first_limit_counts(cluster: ClusterSettings, options: dict[str, int], expected: float) -> None:
    assert limit_s(cluster, Decimal(1), **options) == expected


@pytest.mark.parametrize(
    ("price", "options", "message"),
    [
        (None, {}, "the price is unknown, so max_dollars cannot be kept"),
        (Decimal(9000), {}, "max_dollars = 1 does not pay a second at \\$9000.00 per hour"),
        (Decimal(2), {"kept_s": 1800}, "max_dollars = 1 does not pay keep_alive_minutes = 30 at \\$2.00 per hour"),
    ],
)
def test_a_cap_that_pays_nothing_is_refused(price: Decimal | None, options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        limit_s(ClusterSettings(max_dollars=1), price, **options)
