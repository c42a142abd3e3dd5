"""Crash and Ctrl-C at every API call: nothing is left, never too many instances, no foreign resource is touched."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from localcloud.scenarios.scenario import Fault
from localcloud.simulation.cloud import ClientCrash
from orchestrator.core.errors import StratusError
from tests.support.simulated_project import LAG, OWNER, SimulatedProject, simulate

__all__ = ["simulate"]

COLLEAGUE = "arn:aws:iam::123456789012:user/colleague"
N = 2

Interrupt = Callable[[str, str, int], None]


def interrupt_at(phase: str, number: int, error: type[BaseException]) -> Interrupt:
    """Return a function that raises an exception at one API call, once."""
    done: list[int] = []

    def interrupt(when: str, action: str, call: int) -> None:
        if (when, call) == (phase, number) and not done:
            done.append(call)
            raise error(f"{when} {action}")

    return interrupt


def terminate(project: SimulatedProject, computer: str) -> list[str]:
    """Run TerminateAll in a new session; return its list of remaining resources, or its error."""
    try:
        return [str(line) for line in project.session(computer).cluster.terminate().remaining]
    except StratusError as error:
        return [str(error)]


def boundaries(simulate: Callable[..., SimulatedProject], *faults: Fault) -> list[int]:
    """Return the numbers of all API calls of an undisturbed launch; of a row of equal calls the first and the last."""
    project = simulate(*faults)
    session = project.session()
    session.cluster.launch(session.cluster.plan(N))
    session.cluster.terminate()
    actions = ["", *(seen.action for seen in project.cloud.calls), ""]
    return [n for n in range(1, len(actions) - 1) if {actions[n - 1], actions[n + 1]} != {actions[n]}]


def interrupt_everywhere(
    simulate: Callable[..., SimulatedProject], error: type[BaseException], computer: str, *faults: Fault
) -> int:
    """Launch and terminate once per API call, interrupted there, check; return the number of calls."""
    numbers = boundaries(simulate, *faults)
    for number in numbers:
        for phase in ("before", "after"):
            project = simulate(*faults)
            project.cloud.on_call_boundary = interrupt_at(phase, number, error)
            where = f"{error.__name__} {phase} call {number}"
            with pytest.raises((StratusError, ClientCrash, KeyboardInterrupt)) as caught:
                launch_and_end(project)
            where = f"{error.__name__} {phase} call {number}: {caught.value}"
            project.cloud.on_call_boundary = lambda *_: None
            left = terminate(project, computer)
            assert project.cloud.max_live_instances(OWNER) <= N, where
            assert not (project.our_states and not left), f"{where}: {project.our_states}, and nothing is listed"
            assert not left, f"{where}: {left}"
            assert project.our_states == [], where
    return len(numbers)


def launch_and_end(project: SimulatedProject) -> None:
    session = project.session()
    session.cluster.launch(session.cluster.plan(N))
    session.cluster.terminate()


@pytest.mark.slow
@pytest.mark.parametrize("computer", ["laptop", "another"])
def test_terminate_all_cleans_up_after_a_crash_at_any_api_call(
    simulate: Callable[..., SimulatedProject], computer: str
) -> None:
    assert interrupt_everywhere(simulate, ClientCrash, computer, LAG) > 20


@pytest.mark.slow
def test_terminate_all_cleans_up_after_ctrl_c_at_any_api_call(
    simulate: Callable[..., SimulatedProject],
) -> None:
    assert interrupt_everywhere(simulate, KeyboardInterrupt, "laptop", LAG) > 20
