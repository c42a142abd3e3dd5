"""Recovery of interrupted launches: found in the journal, resumed or terminated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from localcloud.simulation.cloud import ClientCrash
from orchestrator.aws.launch import launch_log
from orchestrator.cluster.recovery import has_open_launches
from tests.support.simulated_project import LAG, SimulatedProject

Simulate = Callable[..., SimulatedProject]


def crash_during_launch(project: SimulatedProject) -> None:
    """Crash after EC2 created two instances, before its answer arrives."""

    def crash(when: str, action: str, _: int) -> None:
        if when == "after" and action == "RunInstances" and project.cloud.live_instances():
            raise ClientCrash

    project.cloud.on_call_boundary = crash
    session = project.session()
    with pytest.raises(ClientCrash):
        session.cluster.launch(session.cluster.plan(2))
    project.cloud.on_call_boundary = lambda *_: None


def home(project: SimulatedProject) -> Path:
    return project.folder / "laptop"


def test_without_an_open_launch_no_call_is_made(simulate: Simulate) -> None:
    project = simulate()

    assert project.session().cluster.interrupted_launches() == ()
    assert not has_open_launches(home(project), project.clock)
    assert project.cloud.calls == []


def test_a_completed_launch_is_not_interrupted(simulate: Simulate) -> None:
    project = simulate()
    session = project.session()
    session.cluster.launch(session.cluster.plan(2))

    assert not has_open_launches(home(project), project.clock)
    assert session.cluster.interrupted_launches() == ()


def test_an_interrupted_launch_has_its_instances_price_and_shutdown(simulate: Simulate) -> None:
    project = simulate()
    crash_during_launch(project)
    project.cloud.clock.sleep(3600)
    (launch,) = project.session().cluster.interrupted_launches()

    assert has_open_launches(home(project), project.clock)
    assert [text.split()[0] for text in launch.instances] == ["ml-0", "ml-1"]
    assert (launch.unconfirmed_count, launch.is_empty) == (0, False)
    assert launch.usd_per_hour is not None
    assert launch.spent_usd is not None
    assert launch.usd_per_hour <= launch.spent_usd < 2 * launch.usd_per_hour
    assert launch.expires_at is not None
    assert launch.began_at < project.clock.now() < launch.expires_at


def test_a_launch_in_progress_in_another_process_is_not_interrupted(simulate: Simulate) -> None:
    project = simulate()
    crash_during_launch(project)
    session = project.session()
    with project.session().context.lock():
        assert session.cluster.interrupted_launches() == ()
    assert len(session.cluster.interrupted_launches()) == 1


def test_a_launch_whose_instances_are_gone_is_completed_without_being_listed(simulate: Simulate) -> None:
    project = simulate()
    crash_during_launch(project)
    project.cloud.clock.sleep(3600)
    for instance in project.cloud.live_instances():
        project.cloud.session().client("ec2").terminate_instances(InstanceIds=[instance.id])
    project.cloud.clock.sleep(600)

    assert project.session().cluster.interrupted_launches() == ()
    assert not has_open_launches(home(project), project.clock)


def test_a_resumed_launch_is_complete_and_its_instances_run(simulate: Simulate) -> None:
    project = simulate()
    crash_during_launch(project)
    report = project.session().cluster.recover(terminate=False)

    assert [host.name for host in report.ready] == ["ml-0", "ml-1"]
    assert (report.terminated, report.remaining, report.failed) == (False, (), {})
    assert project.our_states == ["running", "running"]
    assert not has_open_launches(home(project), project.clock)


def test_a_resumed_launch_stays_open_while_instances_may_still_appear(simulate: Simulate) -> None:
    project = simulate(LAG)
    crash_during_launch(project)
    report = project.session().cluster.recover(terminate=False)
    entries = project.session().context.launch_log.unconfirmed()

    assert report.ready == ()
    assert [entry.kind for entry in entries] == [launch_log.LAUNCH]
    project.cloud.clock.sleep(70)
    assert len(project.session().cluster.recover(terminate=False).ready) == 2


def test_a_terminated_launch_leaves_neither_instances_nor_group_and_key(simulate: Simulate) -> None:
    project = simulate(LAG)
    crash_during_launch(project)
    report = project.session().cluster.recover(terminate=True)

    assert (report.terminated, report.remaining) == (True, ())
    ended = [event.host for event in project.events if (event.phase, event.state) == ("terminate", "done")]
    assert sorted(ended) == ["ml-0", "ml-1"]
    assert project.our_states == []
    assert not has_open_launches(home(project), project.clock)
    after = project.session().cluster.terminate()
    assert (after.group_state, after.key_state) == ("none", "none")
