"""Billed time before the last start: its tag, and the start that it belongs to."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.aws.ec2.past_use import PastUse

NOW = datetime(2026, 11, 20, 14, 12, 7, tzinfo=UTC)
PAST_USE = PastUse(3600, NOW - timedelta(hours=2), NOW - timedelta(hours=1), NOW)


@pytest.mark.parametrize("past_use", [PAST_USE, replace(PAST_USE, is_exact=False)])
def test_the_tag_holds_the_whole_record(past_use: PastUse) -> None:
    assert PastUse.from_tag(past_use.tag_value) == past_use


def test_time_is_exact_unless_marked() -> None:
    assert PAST_USE.is_exact
    assert PAST_USE.tag_value == "3600 1795176727 1795180327 1795183927"
    assert replace(PAST_USE, is_exact=False).tag_value == f">{PAST_USE.tag_value}"


@pytest.mark.parametrize("value", ["", "an hour", "1 2 3", "1 2 3 4 5", "3600 1 1 99999999999999999999"])
def test_any_other_text_is_no_record(value: str) -> None:
    assert PastUse.from_tag(value) is None


@pytest.mark.parametrize(("seconds", "is_before"), [(-301, False), (-300, True), (0, True), (300, True), (301, False)])
def test_a_start_within_five_minutes_of_the_tag_is_the_one_that_followed(seconds: int, is_before: bool) -> None:
    assert PAST_USE.precedes(NOW + timedelta(seconds=seconds)) is is_before
