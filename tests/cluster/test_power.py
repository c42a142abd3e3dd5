"""Stop and start: one result per instance, in virtual time."""

from __future__ import annotations

from collections.abc import Callable

from localcloud.scenarios.scenario import Scenario, make_fault
from orchestrator.core.errors import ConnectError
from orchestrator.core.host import Host
from orchestrator.session import Session
from tests.support.simulated_project import SimulatedProject

Simulate = Callable[..., SimulatedProject]


def launched(project: SimulatedProject) -> Session:
    """Launch two instances and return the session."""
    session = project.session()
    session.cluster.launch(session.cluster.plan(2))
    return session


def test_stopped_instances_have_a_disk_price_and_start_again_under_their_names(simulate: Simulate) -> None:
    project = simulate()
    session = launched(project)
    stopped = session.cluster.stop()

    assert [(result.name, result.state, result.error) for result in stopped] == [
        ("ml-0", "stopped", ""),
        ("ml-1", "stopped", ""),
    ]
    assert all(result.disk_usd_per_hour for result in stopped)
    started = session.cluster.start()
    assert [(result.name, result.state, result.error) for result in started] == [
        ("ml-0", "running", ""),
        ("ml-1", "running", ""),
    ]


def test_instances_that_are_stopped_or_running_already_are_in_the_result(simulate: Simulate) -> None:
    project = simulate()
    session = launched(project)
    running = [(result.name, result.state) for result in session.cluster.start()]
    session.cluster.stop()
    again = session.cluster.stop()

    assert running == [("ml-0", "running"), ("ml-1", "running")]
    assert [(result.name, result.state, result.error) for result in again] == [
        ("ml-0", "stopped", ""),
        ("ml-1", "stopped", ""),
    ]
    assert all(result.disk_usd_per_hour for result in again)
    assert project.count_calls("StopInstances") == 1
    assert project.count_calls("StartInstances") == 0


def test_without_instances_there_is_nothing_to_stop_or_start(simulate: Simulate) -> None:
    session = simulate().session()

    assert session.cluster.stop() == ()
    assert session.cluster.start() == ()


def test_an_instance_that_does_not_answer_after_its_start_has_that_as_its_error(simulate: Simulate) -> None:
    project, refusing = simulate(), set[str]()

    def stdout(host: Host, _command: str) -> str:
        if host.name in refusing:
            raise ConnectError("lost", "ssh: connection lost", where=host.name)
        return ""

    project.stdout = stdout
    session = launched(project)
    session.cluster.stop()
    refusing.add("ml-1")
    first, second = session.cluster.start()

    assert (first.state, first.error) == ("running", "")
    assert (second.state, second.error) == ("running", "ml-1: ssh: connection lost")


def test_a_refused_stop_is_the_error_of_each_instance(simulate: Simulate) -> None:
    project = simulate()
    session = launched(project)
    project.cloud.play(
        Scenario(7, (make_fault("error", code="OperationNotPermitted", action="StopInstances", message="no"),))
    )
    results = session.cluster.stop()

    assert [result.state for result in results] == ["running", "running"]
    assert all("OperationNotPermitted" in result.error for result in results)


def test_an_unknown_timer_after_a_start_is_reported_and_the_tag_stays(simulate: Simulate) -> None:
    """The simulated hosts print no timer."""
    project = simulate()
    session = launched(project)
    session.cluster.stop()
    session.cluster.start()

    warnings = [event.text for event in project.events if event.phase == "timer"]
    assert len(warnings) == 2
    assert all("the tagged shutdown time may be too late" in text for text in warnings)
    assert all(instance.expires_at for instance in session.cluster.status().up)
