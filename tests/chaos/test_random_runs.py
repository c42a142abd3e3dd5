"""Some of the thousand randomized fault-injection runs of scripts/chaos: nothing is ever left behind."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.chaos.invariants import COLLEAGUE_ID, OUR_ROLE, ROLE_ARN, SSO_ROLE, is_ours
from tests.chaos.random_runs.campaign import summarize
from tests.chaos.random_runs.circumstances import DAMAGES, EDITS, LIES
from tests.chaos.random_runs.plan import MOST_FAULTS, generate
from tests.chaos.random_runs.run import run
from tests.support.paths import ROOT


@pytest.mark.slow
@pytest.mark.parametrize(
    "first", [pytest.param(first, marks=[pytest.mark.slow] * (first > 0)) for first in range(0, 24, 8)]
)
def test_nothing_is_left_behind_and_no_foreign_resource_is_touched(first: int) -> None:
    summary = summarize(map(run, range(first, first + 8)))

    assert summary.failed == {}
    assert summary.orphans == 0
    assert summary.over_usd == 0


@pytest.mark.slow
def test_a_run_is_reproduced_bit_for_bit_in_another_process() -> None:
    """Also with another hash seed, which changes the order of sets."""
    seed = 35
    command = [sys.executable, "-m", "tests.chaos.random_runs", "--seed", str(seed), "--trace"]
    traces = [
        subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": str(hashing)},
            capture_output=True,
            text=True,
            timeout=240,
            check=True,
        ).stdout
        for hashing in (1, 2)
    ]

    assert traces[0] == traces[1]
    assert traces[0].splitlines()[:-1] == run(seed).trace


def test_runs_have_at_most_five_faults_and_all_kinds_of_them_occur() -> None:
    """Half of them end with a crash after which the user does not come back."""
    plans = [generate(seed) for seed in range(1000)]

    assert max(len(plan.faults) + len(plan.interruptions) for plan in plans) == MOST_FAULTS
    assert sum(not plan.user_returns for plan in plans) == 500
    assert {planned.kind for plan in plans for planned in plan.interruptions} == {
        "crash",
        "moves",
        "ctrl-c",
        "ctrl-c twice",
    }
    assert sum(plan.third_party is not None for plan in plans) > 500
    kinds = {fault.kind for plan in plans for fault in plan.faults}
    assert {setting for plan in plans for setting in [plan.circumstances.edit]} == {*EDITS, ""}
    assert {plan.circumstances.damage for plan in plans} == {*DAMAGES, ""}
    assert {plan.circumstances.lie for plan in plans} == {*LIES, None}
    assert {plan.circumstances.denied for plan in plans if plan.circumstances.named_group} > {""}
    assert sum(bool(plan.circumstances.other_computer) for plan in plans) > 100
    assert sum(bool(plan.circumstances.reboots) for plan in plans) > 300
    hidden_s = [fault["seconds"] for plan in plans for fault in plan.faults if fault.kind == "invisible"]
    assert max(hidden_s) == 300
    assert kinds >= {"error", "dropped", "throttled", "invisible", "dies", "no-capacity", "slow", "expired-keys"}


def test_sessions_of_roles_and_owner_ids_occur_in_all_their_ways() -> None:
    plans = [generate(seed) for seed in range(1000)]
    callers = [plan.caller for plan in plans if plan.caller.role == OUR_ROLE]

    assert {plan.caller.role for plan in plans} == {"", OUR_ROLE, SSO_ROLE}
    assert {len(caller.sessions) for caller in callers} == {1, 3}
    assert sum(bool(caller.owner_id) for caller in callers) > 30
    assert sum(bool(caller.moved_before) for caller in callers) > 30
    # Several people and computers: ids that this computer does not have.
    foreign = [dict(plan.third_party["tags"]) for plan in plans if plan.caller.role == OUR_ROLE and plan.third_party]
    assert {tags.get("stratus:ownerid") for tags in foreign} == {None, COLLEAGUE_ID}
    kept = [plan for plan in plans if plan.caller in callers and not plan.caller.owner_id]
    assert sum(bool(plan.circumstances.other_computer) for plan in kept) > 20
    assert sum(plan.user_returns and any(item.kind == "moves" for item in plan.interruptions) for plan in kept) > 5


def test_resources_of_a_colleague_with_the_same_role_are_foreign() -> None:
    owner = {"stratus:owner": f"{ROLE_ARN}/build-1"}

    assert is_ours({**owner, "stratus:ownerid": "0123456789ab"})
    assert not is_ours({**owner, "stratus:ownerid": COLLEAGUE_ID})
    assert not is_ours(owner)
    assert not is_ours({})
