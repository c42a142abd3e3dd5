"""Checks of the account and region: clock, images, subnets, types, quotas, prices, keys. They cost nothing."""

from __future__ import annotations

import json
import time
from email.utils import parsedate_to_datetime

from localcloud.contract.check_context import CheckContext
from localcloud.contract.checks.expectations import Check, error_of, expect, expect_equal

_PRICED_TYPE = "c7i.2xlarge"


def answers_carry_the_date(context: CheckContext) -> None:
    """Compare this computer's clock with AWS's, which every answer carries."""
    headers = context.ec2.describe_vpcs()["ResponseMetadata"]["HTTPHeaders"]
    offset_s = parsedate_to_datetime(headers["date"]).timestamp() - time.time()
    # AWS refuses signatures that are more than 5 minutes off.
    expect(abs(offset_s) < 300, f"this computer's clock is {offset_s:.0f} s off")


def image_parameters_name_images(context: CheckContext) -> None:
    """Look up the image that the alias of Ubuntu 24.04 names."""
    (image,) = context.ec2.describe_images(ImageIds=[context.image])["Images"]
    expect_equal((image["OwnerId"], image["Architecture"], image["RootDeviceType"]), ("099720109477", "x86_64", "ebs"))


def default_subnets_are_there(context: CheckContext) -> None:
    """Check that there is one default subnet per zone."""
    subnets = context.subnets()
    expect(subnets, "there is none: this account has no default VPC in the region")
    zones = [subnet["AvailabilityZone"] for subnet in subnets]
    expect_equal(len(set(zones)), len(zones))
    expect(all(subnet["MapPublicIpOnLaunch"] for subnet in subnets), "instances there get no public address")


def types_are_offered_by_zone(context: CheckContext) -> None:
    """List the zones that offer the checks' instance type."""
    only = [{"Name": "instance-type", "Values": [context.instance_type]}]
    offerings = context.ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=only)
    zones = [offering["Location"] for offering in offerings["InstanceTypeOfferings"]]
    expect(zones and all(zone.startswith(context.region) for zone in zones), f"found {zones}")


def unknown_types_are_named(context: CheckContext) -> None:
    """Describe a misspelled instance type."""
    code, _ = error_of(context.ec2.describe_instance_types, InstanceTypes=["c7i.2xlrage"])
    expect(code.startswith("InvalidInstanceType"), code)


def quotas_have_codes(context: CheckContext) -> None:
    """Read the quota that most launches count against."""
    quota = context.client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode="L-1216C47A")["Quota"]
    expect("On-Demand Standard" in quota["QuotaName"], quota["QuotaName"])
    expect(quota["Adjustable"] and quota["Value"] >= 0)


def _prices(context: CheckContext, **filters_more: str) -> list[float]:
    wanted = {
        "instanceType": _PRICED_TYPE,
        "regionCode": "us-west-2",
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        **filters_more,
    }
    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()]
    # The Price List API has endpoints in few regions; us-east-1 is one of them.
    answer = context.client("pricing", region_name="us-east-1").get_products(ServiceCode="AmazonEC2", Filters=filters)
    terms = [
        term for product in answer["PriceList"] for term in json.loads(product)["terms"].get("OnDemand", {}).values()
    ]
    rates = [rate for term in terms for rate in term["priceDimensions"].values()]
    return [float(rate["pricePerUnit"]["USD"]) for rate in rates]


def prices_are_listed(context: CheckContext) -> None:
    """Read the price of an instance type that every region offers."""
    prices = _prices(context, capacitystatus="Used")
    expect(len(prices) == 1 and 0 < prices[0] < 5, f"found {prices}")


def unfiltered_prices_include_reservations(context: CheckContext) -> None:
    """Find reservations at $0 among unfiltered prices."""
    prices = _prices(context)
    expect(0.0 in prices and len(prices) > 1, f"found {prices}")


def spot_prices_are_listed(context: CheckContext) -> None:
    """Read the spot prices in the zones of the region."""
    history = context.ec2.describe_spot_price_history(
        InstanceTypes=[_PRICED_TYPE], ProductDescriptions=["Linux/UNIX"], MaxResults=20
    )["SpotPriceHistory"]
    expect(history, "there is none")
    (on_demand,) = _prices(context, capacitystatus="Used")
    expect(all(0 < float(entry["SpotPrice"]) < 1.5 * on_demand for entry in history), "implausible prices")
    expect(all(entry["AvailabilityZone"].startswith(context.region) for entry in history))


def unknown_keys_have_a_code_per_service(context: CheckContext) -> None:
    """Call services with keys that AWS never issued."""
    keys = {"aws_access_key_id": "AKIA" + "0" * 16, "aws_secret_access_key": "0" * 40}
    calls = {
        "ec2": "describe_vpcs",
        "sts": "get_caller_identity",
        "ssm": "describe_parameters",
    }
    errors = {service: error_of(getattr(context.client(service, **keys), call)) for service, call in calls.items()}
    expect_equal(
        errors,
        {
            "ec2": ("AuthFailure", 401),
            "sts": ("InvalidClientTokenId", 403),
            "ssm": ("UnrecognizedClientException", 400),
        },
    )


CHECKS: tuple[Check, ...] = (
    answers_carry_the_date,
    image_parameters_name_images,
    default_subnets_are_there,
    types_are_offered_by_zone,
    unknown_types_are_named,
    quotas_have_codes,
    prices_are_listed,
    unfiltered_prices_include_reservations,
    spot_prices_are_listed,
    unknown_keys_have_a_code_per_service,
)
