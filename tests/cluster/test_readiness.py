"""Readiness: one outcome per instance, work on each host as soon as it is ready, and Ctrl-C in between."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from localcloud.scenarios.scenario import make_fault
from orchestrator.cluster.readiness import HostStartup, wait_until_ready
from orchestrator.core.errors import ConnectError, HostError
from orchestrator.core.host import Host
from orchestrator.core.next_step import advice_of
from tests.support.simulated_project import SimulatedProject

Simulate = Callable[..., SimulatedProject]


def test_the_phases_of_a_startup_have_one_name_each() -> None:
    assert HostStartup("ml-0", "us-west-2a", 2.0, 30.0, 0.1).phases == {"pending": 2.0, "boot": 30.0, "ssh": 0.1}


def test_work_on_a_ready_host_that_fails_is_its_outcome_and_the_host_is_not_replaced(simulate: Simulate) -> None:
    project = simulate()
    session = project.session()

    def work(host: Host) -> str:
        if host.name == "ml-0":
            raise HostError("disk full", where=host.name)
        return host.address

    report, results = session.cluster.launch_and(session.cluster.plan(2), work)

    assert [host.name for host in report.ready] == ["ml-1"]
    assert str(report.failed["ml-0"]) == "ml-0: disk full"
    assert len(results) == 1
    assert (project.launch_requests, len(project.our_states)) == (1, 2)


def test_the_phases_of_each_host_are_reported_in_order(simulate: Simulate) -> None:
    project = simulate()
    session = project.session()
    session.cluster.launch(session.cluster.plan(1))
    phases = [event.phase for event in project.events if event.host == "ml-0" and event.state == "done"]

    assert phases[:3] == ["pending", "boot", "ssh"]


def test_an_instance_that_dies_without_a_replacer_fails_with_its_state(simulate: Simulate) -> None:
    project = simulate()
    session = project.session()
    session.cluster.launch(session.cluster.plan(2))
    instances = session.inventory.instances()
    project.cloud.session().client("ec2").terminate_instances(InstanceIds=[instances[0].id])
    outcomes = wait_until_ready(session.inventory, instances, lambda host: host.name)

    assert list(outcomes.succeeded) == ["ml-1"]
    assert "instead" in str(outcomes.errors["ml-0"])


def test_slow_first_commands_are_tried_again_and_replace_no_vm(simulate: Simulate) -> None:
    """A VM that just came up may be slow for minutes; only ready_timeout ends the attempts."""
    project = simulate()
    attempts: list[str] = []

    def answer(host: Host, command: str) -> str:
        attempts.append(command)
        if len(attempts) < 6:
            raise ConnectError("lost", "ssh: no answer in 30 s", where=host.name)
        return ""

    project.stdout = answer
    session = project.session()
    report = session.cluster.launch(session.cluster.plan(1))

    assert [host.name for host in report.ready] == ["ml-0"]
    assert len(attempts) >= 6
    assert len(set(attempts[:6])) == 1
    assert (project.launch_requests, len(project.our_states)) == (1, 1)


@pytest.mark.slow
def test_a_first_command_that_never_succeeds_is_the_error_of_its_host(simulate: Simulate) -> None:
    project = simulate()

    def refuse(host: Host, command: str) -> str:
        raise ConnectError("lost", "ssh: no answer in 30 s", where=host.name)

    project.stdout = refuse
    session = project.session()
    report = session.cluster.launch(session.cluster.plan(1))

    assert "no answer in 30 s" in str(report.failed["ml-0"])


def test_ctrl_c_lists_the_instances_and_what_to_do_with_them(simulate: Simulate) -> None:
    project = simulate(make_fault("slow-boot", seconds=60))
    session = project.session()

    def interrupt(host: Host, command: str) -> str:
        raise KeyboardInterrupt

    project.stdout = interrupt
    session = project.session()
    with pytest.raises(KeyboardInterrupt) as caught:
        session.cluster.launch(session.cluster.plan(2))

    listed, choice = map(str, advice_of(caught.value))
    assert listed.startswith("2 VMs are up or starting: ml-0 (i-")
    assert choice == "InstallDeps() continues with them; TerminateAll() terminates them."
