"""Price List API."""

from __future__ import annotations

import json

from tests.support.localcloud.clients import TYPE, boto


def test_the_price_list_has_on_demand_prices_and_free_reservations(cloud: dict[str, str]) -> None:
    def prices(**wanted: str) -> list[float]:
        filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()]
        answer = boto(cloud, "pricing").get_products(ServiceCode="AmazonEC2", Filters=filters)
        terms = [term for product in answer["PriceList"] for term in json.loads(product)["terms"]["OnDemand"].values()]
        rates = [rate for term in terms for rate in term["priceDimensions"].values()]
        return [float(rate["pricePerUnit"]["USD"]) for rate in rates]

    machine = {"instanceType": TYPE, "regionCode": "us-west-2", "operatingSystem": "Linux"}
    assert prices(**machine, capacitystatus="Used", tenancy="Shared", preInstalledSw="NA") == [0.357]
    assert 0.0 in prices(**machine)
    assert prices(**{**machine, "instanceType": "x9.huge"}) == []
    assert prices(volumeApiName="gp3", location="US West (Oregon)") == [0.08]
