"""Launches that cope: the next pool, the next machine, the next sitting; and what is never touched."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from localcloud.scenarios.scenario import Scenario, make_fault
from localcloud.simulation.cloud import ClientCrash
from orchestrator.aws import identity
from orchestrator.cluster.replacement import why_not_replaceable
from orchestrator.core import file_lock, interrupts
from orchestrator.core.errors import CloudRefused, ConnectError, LeftRunning, StratusError
from tests.aws.ec2.test_state_changes import machine
from tests.local.test_crash_points import begin
from tests.support.simulated_project import LAG, OWNER, SimulatedProject

__all__ = ["begin"]

Begin = Callable[..., SimulatedProject]
ALSO = "fallback_instance_types = c7a.2xlarge"


def up(life: SimulatedProject, count: int = 2, computer: str = "laptop") -> list[str]:
    """Launch, and return the hosts that are ready with their zones."""
    session = life.session(computer)
    return [f"{one.name} {one.zone}" for one in session.cluster.launch(session.cluster.plan(count)).ready]


def zones(life: SimulatedProject) -> list[str]:
    """The zones of the plan, in the order in which they are asked."""
    return [pool.subnet.zone for pool in life.session().cluster.plan(2).pools]


# -- pools


def test_an_empty_zone_is_asked_once_and_the_next_one_has_the_machines(begin: Begin) -> None:
    first, second = zones(begin())[:2]
    life = begin(make_fault("no-capacity", where=first))

    assert up(life) == [f"ml-0 {second}", f"ml-1 {second}"]
    assert life.launch_requests == 2
    assert any(first in line and "InsufficientInstanceCapacity" in line and second in line for line in life.warnings)


def test_the_next_start_passes_over_a_pool_that_was_empty_a_moment_ago(begin: Begin) -> None:
    first = zones(begin())[0]
    life = begin(make_fault("no-capacity", where=first))
    up(life)
    life.session().cluster.terminate()
    before = life.launch_requests
    up(life)

    assert life.launch_requests == before + 1
    assert any("passed over" in line for line in life.warnings)
    life.cloud.clock.sleep(200)
    life.session().cluster.terminate()
    up(life)
    assert life.launch_requests == before + 3


def test_a_sibling_type_comes_after_the_last_zone_and_only_when_it_is_named(begin: Begin) -> None:
    nowhere = make_fault("no-capacity", where="c7i.2xlarge")
    life = begin(nowhere, cluster=ALSO)
    up(life)

    assert {one.type for one in life.cloud.live_instances()} == {"c7a.2xlarge"}
    alone = begin(nowhere)
    with pytest.raises(CloudRefused, match="pools asked, none had the machines") as caught:
        up(alone)
    assert caught.value.exit_code == 3
    assert alone.launch_requests == len(zones(alone))
    assert alone.our_states == []
    assert alone.count_calls("DeleteSecurityGroup") == alone.count_calls("DeleteKeyPair") == 1


def test_what_one_zone_lacks_the_next_brings_where_fewer_will_do(begin: Begin) -> None:
    """Never one more than was asked for, each with its share of the money."""
    first, second = zones(begin())[:2]
    life = begin(make_fault("no-capacity", where=first, machines=1), cluster="allow_partial = yes\nmax_dollars = 3")

    assert up(life, 3) == [f"ml-0 {first}", f"ml-1 {second}", f"ml-2 {second}"]
    assert life.launch_requests == 2
    ends = [machine.expires_at for machine in life.session().cluster.status().up if machine.expires_at]
    assert len(ends) == 3
    assert (max(ends) - min(ends)).total_seconds() < 120
    alone = begin(make_fault("no-capacity", where=first, machines=1), cluster="max_dollars = 3")
    assert up(alone, 3) == [f"ml-{number} {second}" for number in range(3)]


def test_a_quota_is_the_same_in_every_zone_so_no_other_is_asked(begin: Begin) -> None:
    life = begin(make_fault("error", code="VcpuLimitExceeded", action="RunInstances"))

    with pytest.raises(CloudRefused, match="VcpuLimitExceeded"):
        up(life)
    assert life.launch_requests == 1


def test_spot_falls_back_to_on_demand_only_when_the_settings_say_so(begin: Begin) -> None:
    with pytest.raises(CloudRefused):
        up(begin(make_fault("no-capacity", where="spot"), cluster="market = spot"))
    life = begin(make_fault("no-capacity", where="spot"), cluster="market = spot\nspot_fallback = yes")
    up(life)
    assert {one.market for one in life.cloud.live_instances()} == {"on-demand"}
    cheap = begin(cluster="market = spot")
    up(cheap)
    assert {one.market for one in cheap.cloud.live_instances()} == {"spot"}


# -- doubt


def test_an_error_after_the_machines_were_made_never_makes_a_second_fleet(begin: Begin) -> None:
    for trouble in (
        make_fault("error", code="InternalError", action="RunInstances", applied="yes", times=1),
        make_fault("dropped", action="RunInstances", times=1),
        make_fault("slow", action="RunInstances", seconds=100, times=1),
    ):
        life = begin(trouble, LAG)
        assert len(up(life)) == 2
        assert life.cloud.max_live_instances() == 2


def test_keys_that_expire_in_the_middle_leave_the_journal_open_and_good_ones_end_it(begin: Begin) -> None:
    life = begin(
        make_fault("dropped", action="RunInstances", times=1), make_fault("expired-keys", when="from call 17"), LAG
    )
    with pytest.raises(StratusError) as caught:
        up(life)
    life.cloud.play(Scenario())

    assert caught.value.exit_code in (3, 4)
    assert life.session().cluster.terminate().remaining == ()
    assert life.our_states == []


# -- hosts


@pytest.mark.parametrize("kind", ["dies-pending", "ssh-silent", "ssh-refused", "boot-hangs", "stuck-pending"])
def test_a_dead_or_silent_host_is_replaced_once_and_never_more_than_asked_are_alive(begin: Begin, kind: str) -> None:
    life = begin(make_fault(kind, where="host 1"))

    assert [host.split()[0] for host in up(life)] == ["ml-0", "ml-1"]
    assert life.cloud.max_live_instances(OWNER) == 2
    assert life.launch_requests == 2


def test_a_replacement_that_fails_too_is_the_last(begin: Begin) -> None:
    life = begin(make_fault("ssh-silent", where="host 1-9"))
    session = life.session()
    report = session.cluster.launch(session.cluster.plan(2))

    assert (list(report.failed), life.launch_requests) == (["ml-1"], 2)
    assert life.cloud.max_live_instances(OWNER) == 2


def test_when_no_host_can_be_reached_the_way_there_is_at_fault_and_none_is_replaced() -> None:
    dropped = ConnectError("dropped", "ssh: no answer", where="ml-1")

    assert "the way there is to be mended first" in why_not_replaceable(dropped, machine(1), False)
    assert why_not_replaceable(dropped, machine(1), True) == ""
    assert "the same" in why_not_replaceable(ConnectError("host-key", "another"), machine(1), True)


def test_a_machine_that_somebody_ended_is_not_brought_back(begin: Begin) -> None:
    life = begin()
    session = life.session()
    plan = session.cluster.plan(2)

    def by_hand(when: str, action: str, _: int) -> None:
        if when == "after" and action == "RunInstances" and life.cloud.live_instances():
            life.cloud.on_call_boundary = lambda *_: None
            victim = life.cloud.live_instances()[0].id
            life.cloud.session().client("ec2", region_name="us-west-2").terminate_instances(InstanceIds=[victim])

    life.cloud.on_call_boundary = by_hand
    report = session.cluster.launch(plan)

    assert len(report.failed) == 1
    assert any("somebody ended it" in line for line in life.warnings)


# -- ending


def test_terminate_all_sweeps_the_regions_that_are_named(begin: Begin) -> None:
    life = begin(aws="terminate_regions = us-east-1, eu-west-1")
    report = life.session().cluster.terminate()

    assert report.remaining == ()
    assert life.count_calls("DescribeInstances") == 4  # one for each region, and one for whose else there are


def test_a_protected_machine_is_listed_and_the_others_end(begin: Begin) -> None:
    life = begin(make_fault("protected", where="host 1"))
    up(life)
    report = life.session().cluster.terminate()

    assert len(report.remaining) == 3
    assert "protected" in report.remaining[0]
    assert len(life.our_states) == 1


def test_foreign_machines_groups_and_keys_with_our_names_are_never_touched(begin: Begin) -> None:
    own = begin().session().context.cluster_id
    theirs = "stratus:cluster=ml, stratus:owner=arn:aws:iam::123456789012:user/colleague"
    life = begin(
        make_fault(
            "colleague",
            machines=2,
            tags=f"Name=ml-0, {theirs}",
            group=own.resource_name.replace("-ml-", "-other-"),
            key="k",
        )
    )
    others = [one.id for one in life.cloud.live_instances()]
    up(life)
    assert life.session("another").cluster.terminate().remaining == ()

    assert [one.id for one in life.cloud.live_instances()] == others
    assert not [one for one in life.cloud.live_instances() if one.tags.get(identity.TAG_OWNER) == OWNER]


def test_when_aws_does_not_answer_the_end_is_not_certain_and_says_so(begin: Begin) -> None:
    life = begin(make_fault("error", code="InternalError", action="TerminateInstances"))
    up(life)
    report = life.session().cluster.terminate()

    assert report.remaining
    assert len(life.our_states) == 2


# -- after a crash


def test_the_next_start_finds_what_a_crash_left_and_can_finish_it_or_end_it(begin: Begin) -> None:
    for end in (True, False):
        life = begin(LAG)
        life.cloud.on_call_boundary = dying(life)
        session = life.session()
        with pytest.raises(ClientCrash):
            session.cluster.launch(session.cluster.plan(2))
        life.cloud.on_call_boundary = lambda *_: None
        (found,) = life.session().cluster.interrupted_launches()
        assert (found.instances, found.unconfirmed_count) == ((), 2)
        life.cloud.clock.sleep(70)
        (found,) = life.session().cluster.interrupted_launches()
        assert len(found.instances) == 2
        assert found.spent_usd is not None
        report = life.session().cluster.recover(terminate=end)
        assert (report.remaining, len(report.ready), len(life.our_states)) == ((), 0 if end else 2, 0 if end else 2)
        assert life.session().cluster.interrupted_launches() == ()
        assert life.session().cluster.terminate().remaining == ()


def dying(life: SimulatedProject) -> Callable[[str, str, int], None]:
    """The laptop dies when the machines were made, before it hears of them."""

    def die(when: str, action: str, _: int) -> None:
        if when == "after" and action == "RunInstances" and life.cloud.live_instances():
            raise ClientCrash

    return die


def test_a_second_launch_right_after_the_first_takes_other_names(begin: Begin) -> None:
    life = begin(LAG)
    session = life.session()
    cluster, plan = session.cluster, session.cluster.plan(2)
    cluster.launch(plan)

    assert life.session().cluster.plan(2).names == ("ml-2", "ml-3")


# -- one at a time


def test_two_shells_do_not_launch_into_one_cluster_at_the_same_time(tmp_path: Path) -> None:
    again = file_lock.hold(tmp_path / "a.lock", "launching into ml")
    late = pytest.raises(file_lock.AlreadyLocked, match=f"process {os.getpid()} on this computer is launching into ml")
    with file_lock.hold(tmp_path / "a.lock", "launching into ml"), late, again:
        pass
    with file_lock.hold(tmp_path / "a.lock", "launching into ml"):
        pass


def test_terminate_all_waits_for_a_launch_in_another_shell_and_says_when_it_goes_on(begin: Begin) -> None:
    life = begin()
    up(life)
    session = life.session()
    with life.session().context.lock():
        report = session.cluster.terminate()

    assert life.our_states == []
    assert any("launching into ml" in line for line in report.remaining)


def test_the_first_ctrl_c_waits_for_a_good_place_and_the_second_does_not() -> None:
    told = threading.Event()
    with interrupts.defer_first_interrupt(told.set) as shield:
        os.kill(os.getpid(), signal.SIGINT)
        assert told.wait(5)
        with pytest.raises(KeyboardInterrupt):
            shield.raise_if_pending()
        with pytest.raises(KeyboardInterrupt):
            _press()
        assert shield.repeated
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _press() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):  # the signal comes between two steps of Python
        pass


def test_a_launch_that_cannot_be_undone_lists_what_may_be_left(begin: Begin) -> None:
    life = begin(make_fault("error", code="InternalError", action="TerminateInstances"))

    def interrupt(when: str, action: str, _: int) -> None:
        if (when, action) == ("after", "RunInstances") and life.cloud.live_instances():
            life.cloud.on_call_boundary = lambda *_: None
            raise KeyboardInterrupt

    life.cloud.on_call_boundary = interrupt
    with pytest.raises(LeftRunning) as caught:
        up(life)
    assert caught.value.exit_code == 4
    assert caught.value.left
