"""Price per hour of SageMaker's instances: AWS's price list, else a dated table, else unknown.

Source of the table: public tables that name the Price List API, us-west-2, 2026 (us-east-1 equal for those seen). It
has training and hosting only, for which the listed prices are the same.
"""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal

from orchestrator.aws.pricing.price_list import PriceList
from orchestrator.aws.pricing.price_table import Price
from orchestrator.aws.sagemaker.uses import Use

SERVICE_CODE = "AmazonSageMaker"
SOURCE = "SageMaker table of 2026, us-west-2"
_SAME_PRICE = {"us-west-2": SOURCE, "us-east-1": f"{SOURCE} (us-east-1 is the same)"}

_USD_PER_HOUR = {
    f"ml.{name}": Decimal(usd)
    for name, usd in {
        "t3.medium": "0.05",
        "m5.large": "0.115",
        "m5.xlarge": "0.23",
        "m5.2xlarge": "0.461",
        "c5.xlarge": "0.204",
        "c5.2xlarge": "0.408",
        "g4dn.xlarge": "0.7364",
        "g4dn.2xlarge": "0.94",
        "g5.xlarge": "1.408",
        "g5.2xlarge": "1.52",
        "g5.12xlarge": "7.09",
        # Two public tables differ, 1.127 and 0.9765; an estimate must not be too low.
        "g6.xlarge": "1.127",
        "g6.12xlarge": "5.752",
        "g7e.2xlarge": "4.2039",
        "p4d.24xlarge": "25.251",
        "p5.48xlarge": "63.296",
    }.items()
}


class SageMakerPrices:
    """Prices of one region.

    :param price_list: holds the prices of AWS's price list, with their date.
    """

    def __init__(self, price_list: PriceList, region: str) -> None:
        self._price_list = price_list
        self._region = region

    def per_hour(self, instance_type: str, use: Use) -> Price | None:
        """Return the price per hour of one instance, None if unknown; makes no API call."""
        return self._price_list.service_per_hour(_name(instance_type, use)) or self._in_table(instance_type, use)

    def refresh(self, instance_types: Collection[str], use: Use) -> None:
        """Request prices that were not requested within the last day; those without an answer in time stay."""
        products = {
            _name(instance_type, use): {"instanceName": instance_type, "component": use.value}
            for instance_type in instance_types
        }
        self._price_list.refresh_service(SERVICE_CODE, products)

    def _in_table(self, instance_type: str, use: Use) -> Price | None:
        usd = _USD_PER_HOUR.get(instance_type)
        if usd is None or use is Use.TRANSFORM or self._region not in _SAME_PRICE:
            return None
        return Price(usd, _SAME_PRICE[self._region])


def _name(instance_type: str, use: Use) -> str:
    return f"{instance_type} {use.value}"
