"""Cost, time limits, quotas and access as text."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from orchestrator.aws.capacity.offerings import Offering, Requirements
from orchestrator.aws.capacity.quotas import QuotaIncrease, QuotaUsage, quota_for
from orchestrator.aws.managed.resources import ManagedResource, ManagedSurvey
from orchestrator.cluster.lifetime import ExtendedHost, ExtendReport, IdleShutdownReport
from orchestrator.core.cost import NOTHING, UNKNOWN, Amount, exactly
from orchestrator.core.errors import HostError
from orchestrator.core.next_step import NextStep
from orchestrator.interface.render import account
from orchestrator.services.account import AccessReport, Cost
from tests.support.interface.rendered import NOW, rendered, texts

USAGE = QuotaUsage(quota_for("g5.xlarge"), needed=8, limit=4, in_use=4)


def test_cost_is_now_so_far_and_at_most() -> None:
    lines = rendered(Cost(Decimal("0.73"), UNKNOWN, Decimal("5.84"), NOW + timedelta(hours=4)))

    assert lines[:2] == ["  now      $0.73/h", "  so far   price unknown"]
    assert lines[2].startswith("  at most  $5.84, shuts down automatically at ")
    assert lines[3] == "  Data transfer is not included."


def test_a_cost_that_is_not_known_exactly_is_a_range_and_stopped_disks_have_no_upper_bound() -> None:
    spent = Amount(Decimal("0.20"), Decimal("0.31"))
    lines = rendered(Cost(Decimal("0.38"), spent, Decimal("5.84"), None, Decimal("0.016")))

    assert lines[1] == "  so far   $0.20 to $0.31"
    assert lines[2] == "  at most  $5.84, and $0.016/h for disks of stopped VMs until they are terminated"


def test_without_vms_nothing_is_billed_and_the_last_cost_is_named() -> None:
    nothing = Cost(Decimal(0), NOTHING, Decimal(0), None, has_instances=False)

    assert rendered(nothing) == ["  No VM of this cluster is running or stopped: nothing is billed."]
    assert rendered(replace(nothing, last_spent=exactly(Decimal("0.10"))))[0].endswith(
        " nothing is billed. The VMs terminated last cost $0.10."
    )


def test_what_is_billed_besides_vms_is_in_the_cost_and_listed() -> None:
    endpoint = ManagedResource("endpoint", "line", "InService", "ml.m5.large", 1, Decimal("0.115"))
    only = Cost(Decimal("0.115"), NOTHING, Decimal(0), None, has_instances=False, managed=ManagedSurvey((endpoint,)))

    assert rendered(only)[0] == "  now  $0.12/h"
    assert rendered(only)[1].split() == ["endpoint", "line", "InService", "1", "x", "ml.m5.large", "$0.115/h"]
    assert rendered(replace(only, has_instances=True))[3].startswith("  Besides VMs")
    unknown = replace(only, usd_per_hour=None, managed=ManagedSurvey((), (("SageMaker", "no answer"),)))
    assert rendered(unknown)[:2] == ["  now  price unknown", "  SageMaker was not looked up: no answer"]


def test_a_cost_names_the_idle_shutdown() -> None:
    lines = rendered(Cost(Decimal(1), UNKNOWN, Decimal(2), NOW + timedelta(hours=4), idle_minutes=30))

    assert lines[2].endswith("(in 4 h), or after 30 min without use")


def test_an_extension_shows_every_end_and_the_maximum_cost() -> None:
    hosts = (ExtendedHost("ml-0", NOW, NOW + timedelta(hours=4), False),)
    error = HostError("no answer", where="ml-1", fix=NextStep("Status"))
    lines = rendered(ExtendReport(hosts, {"ml-1": error}, Decimal("5.5"), 0))

    assert lines[0].startswith("  ml-0  shuts down at ")
    assert lines[0].endswith("(in 4 h)")
    assert lines[1:3] == ["  ml-1  failed  no answer", "    Status()"]
    assert lines[-1] == "  Maximum total cost: $5.50."


def test_an_end_that_the_budget_limits_says_what_to_raise() -> None:
    text = "\n".join(rendered(ExtendReport((ExtendedHost("ml-0", NOW, NOW, True),), {}, None, 2.0)))

    assert "Earlier than requested" in text
    assert "Raise [cluster] max_dollars" in text
    assert "price unknown" in text


def test_idle_shutdown_shows_which_vms_shut_down_when() -> None:
    assert rendered(IdleShutdownReport(30, ("ml-0",), {})) == [
        "  ml-0  shuts down after 30 min without job, SSH session or GPU use."
    ]
    assert rendered(IdleShutdownReport(0, ("ml-0", "ml-1"), {})) == ["  Idle shutdown is off for ml-0 ml-1."]
    assert rendered(IdleShutdownReport(30, (), {})) == ["  No VM was changed."]


def test_a_quota_request_shows_what_was_requested_or_why_not() -> None:
    (requested,) = rendered(QuotaIncrease(USAGE, 12, "PENDING"))
    (again,) = rendered(QuotaIncrease(USAGE, 12, "CASE_OPENED", is_existing=True))
    (enough,) = rendered(QuotaIncrease(replace(USAGE, limit=64), 12, "not needed"))

    assert "Requested 12 vCPU (G and VT on demand, L-DB2E81BA): 8 vCPU needed, quota 4 (4 in use)" in requested
    assert again.startswith("  Already requested: 12 vCPU")
    assert "CASE_OPENED" in again
    assert enough.startswith("  No request needed: ")


def test_types_are_listed_with_what_they_have_cost_and_how_many_the_quota_allows() -> None:
    g5 = Offering("g5.xlarge", 4, 16.0, 1, "NVIDIA A10G", Decimal("1.006"), 2)
    lines = rendered([g5, replace(g5, type="g9.xlarge", usd_per_hour=None, launchable=None)])

    assert lines[0].split("  ")[1:5] == ["g5.xlarge", "4 vCPU", "16 GiB", "1 x NVIDIA A10G"]
    assert "$1.006/h" in lines[0]
    assert "2 at a time" in lines[0]
    assert "price unknown" in lines[1]
    assert "quota unknown" in lines[1]
    assert "RequestLimitIncrease() requests more." in texts(account.instance_types([]))[0]
    assert texts(account.no_such_type(Requirements(gpus=99, memory_gib=64))) == [
        "  No instance type in this region has 99 GPUs and 64 GiB.  InstanceTypes(gpus=1) lists types with less."
    ]
    assert texts(account.no_such_type(Requirements(vcpus=4, family="g99"))) == [
        "  No instance type in this region has 4 vCPU and is of the family g99.  InstanceTypes() lists other types."
    ]
    assert texts(account.no_such_price(Requirements(max_usd_per_hour=Decimal("0.5")))) == [
        "  No matching type that the quota allows is known to cost at most $0.500/h: raise max_price."
    ]
    large = replace(g5, gpu_memory_gib=22.35, spot_usd_per_hour=Decimal("0.352"))
    assert rendered([large])[0] == (
        "  g5.xlarge  4 vCPU  16 GiB  1 x NVIDIA A10G 22 GiB  $1.006/h  spot $0.352/h  2 at a time"
    )


def test_access_shows_which_addresses_are_allowed_and_which_were() -> None:
    changed = AccessReport(("198.51.100.4/32",), ("203.0.113.7/32",), 22)

    assert rendered(changed) == ["  SSH allowed from 203.0.113.7 (was: 198.51.100.4)."]
    assert rendered(replace(changed, previous_sources=changed.sources)) == [
        "  SSH allowed from 203.0.113.7 (unchanged)."
    ]
