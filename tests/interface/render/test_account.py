"""Records on time, money, quotas and access as lines."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from orchestrator.aws.capacity.offerings import Offering
from orchestrator.aws.capacity.quotas import QuotaIncrease, QuotaUsage, quota_for
from orchestrator.cluster.lifetime import ExtendedHost, ExtendReport, IdleShutdownReport
from orchestrator.core.errors import HostError
from orchestrator.interface.render import account, cluster
from orchestrator.services.account import AccessReport

NOW = datetime(2026, 11, 20, 14, 24, tzinfo=UTC)
LIMIT = QuotaUsage(quota_for("g5.xlarge"), needed=8, limit=4, in_use=4)


def test_an_extension_tells_every_end_and_the_most_it_can_cost() -> None:
    hosts = (ExtendedHost("ml-0", NOW, NOW + timedelta(hours=4), False),)
    report = ExtendReport(hosts, {"ml-1": HostError("no answer", where="ml-1", fix="Status()")}, Decimal("5.5"), 0)

    lines = account.extended(report, NOW)

    assert lines[0].startswith("  ml-0  ends at ")
    assert lines[0].endswith("(in 4 h)")
    assert lines[1:3] == ["  ml-1  failed  no answer", "    Status()"]
    assert lines[-1] == "  At most $5.50 from their start to their end."


def test_an_end_that_the_cap_holds_says_what_to_raise() -> None:
    capped = ExtendReport((ExtendedHost("ml-0", NOW, NOW, True),), {}, None, 2.0)

    text = "\n".join(account.extended(capped, NOW))

    assert "earlier than asked" in text
    assert "Raise [cluster] max_dollars" in text
    assert "price unknown" in text


def test_idle_shutdown_says_who_ends_when_or_that_nobody_does() -> None:
    assert account.idle(IdleShutdownReport(30, ("ml-0",), {})) == [
        "  ml-0  ends after 30 min without job, SSH session or GPU use."
    ]
    assert "not for being idle" in account.idle(IdleShutdownReport(0, ("ml-0", "ml-1"), {}))[0]


def test_a_quota_request_says_what_was_asked_or_why_not() -> None:
    asked = account.requested(QuotaIncrease(LIMIT, 12, "PENDING"))[0]
    again = account.requested(QuotaIncrease(LIMIT, 12, "CASE_OPENED", is_existing=True))[0]
    enough = account.requested(QuotaIncrease(replace(LIMIT, limit=64), 12, "not needed"))[0]

    assert "AWS is asked for 12 vCPU (G and VT on demand, L-DB2E81BA): 8 vCPU needed, limit 4 (4 in use)" in asked
    assert "asked already" in again
    assert "CASE_OPENED" in again
    assert "Nothing to ask for" in enough


def test_types_are_listed_with_what_they_have_cost_and_how_many_the_quota_allows() -> None:
    g5 = Offering("g5.xlarge", 4, 16.0, 1, "NVIDIA A10G", Decimal("1.006"), 2)
    lines = account.offers([g5, replace(g5, type="g9.xlarge", price_per_hour=None, room=None)])

    assert lines[0].split("  ")[1:5] == ["g5.xlarge", "4 vCPU", "16 GiB", "1 x NVIDIA A10G"]
    assert "$1.006/h" in lines[0]
    assert "2 at a time" in lines[0]
    assert "price unknown" in lines[1]
    assert "quota unknown" in lines[1]
    assert "RequestLimitIncrease()" in account.offers([])[0]


def test_access_says_who_is_admitted_and_who_was() -> None:
    changed = AccessReport(("198.51.100.4/32",), ("203.0.113.7/32",), 22)

    assert account.access(changed) == ["  ssh is admitted from 203.0.113.7 (was: 198.51.100.4)."]
    assert account.access(replace(changed, previous_sources=changed.sources)) == [
        "  ssh is admitted from 203.0.113.7, as it was."
    ]


def test_every_record_is_shown_by_name_as_its_verb_shows_it() -> None:
    report = IdleShutdownReport(30, ("ml-0",), {})

    assert cluster.of(report) == account.idle(report)
    assert cluster.of([Offering("g5.xlarge", 4, 16.0, 1, "A10G", None, None)])
