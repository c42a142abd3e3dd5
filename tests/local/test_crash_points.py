"""Lives struck at every API boundary: nothing of ours is left, never too many are alive, nobody else is hit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localcloud.scenarios.scenario import Fault, Scenario
from localcloud.simulation.cloud import ClientCrash, InMemoryCloud, VirtualClock
from orchestrator.core.errors import StratusError
from tests.support.simulated_project import LAG, OWNER, SimulatedProject

COLLEAGUE = "arn:aws:iam::123456789012:user/colleague"
N = 2

Strike = Callable[[str, str, int], None]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., SimulatedProject]]:
    """Begins a life in a cloud with faults."""
    made: list[InMemoryCloud] = []

    def make(*faults: Fault, cluster: str = "", aws: str = "") -> SimulatedProject:
        made.append(InMemoryCloud(7, Scenario(7, faults), VirtualClock()))
        folder = tmp_path / str(len(made))
        folder.mkdir()
        return SimulatedProject(made[-1], folder, cluster, aws)

    yield make
    for cloud in made:
        cloud.close()


def striking(phase: str, number: int, what: type[BaseException]) -> Strike:
    """Something that strikes at one boundary, once."""
    done: list[int] = []

    def strike(when: str, action: str, call: int) -> None:
        if (when, call) == (phase, number) and not done:
            done.append(call)
            raise what(f"{when} {action}")

    return strike


def end(life: SimulatedProject, computer: str) -> list[str]:
    """TerminateAll from a process that has just started; what it says is left, or may be."""
    try:
        return list(life.session(computer).cluster.terminate().remaining)
    except StratusError as error:
        return [str(error)]


def boundaries(begin: Callable[..., SimulatedProject], *faults: Fault) -> list[int]:
    """The numbers of the calls of a life that nothing strikes, of a row of the same ones the first and the last."""
    life = begin(*faults)
    session = life.session()
    session.cluster.launch(session.cluster.plan(N))
    session.cluster.terminate()
    called = ["", *(seen.action for seen in life.cloud.calls), ""]
    return [n for n in range(1, len(called) - 1) if {called[n - 1], called[n + 1]} != {called[n]}]


def strike_everywhere(
    begin: Callable[..., SimulatedProject], what: type[BaseException], computer: str, *faults: Fault
) -> int:
    """Launch and end once for every boundary, struck there; then check what must hold. Returns how many."""
    numbers = boundaries(begin, *faults)
    for number in numbers:
        for phase in ("before", "after"):
            life = begin(*faults)
            life.cloud.on_call_boundary = striking(phase, number, what)
            where = f"{what.__name__} {phase} call {number}"
            with pytest.raises((StratusError, ClientCrash, KeyboardInterrupt)) as struck:
                launch_and_end(life)
            where = f"{what.__name__} {phase} call {number}: {struck.value}"
            life.cloud.on_call_boundary = lambda *_: None
            left = end(life, computer)
            assert life.cloud.max_live_instances(OWNER) <= N, where
            assert not (life.our_states and not left), f"{where}: {life.our_states} run, and nothing is said"
            assert not left, f"{where}: {left}"
            assert life.our_states == [], where
    return len(numbers)


def launch_and_end(life: SimulatedProject) -> None:
    session = life.session()
    session.cluster.launch(session.cluster.plan(N))
    session.cluster.terminate()


@pytest.mark.slow
@pytest.mark.parametrize("computer", ["laptop", "another"])
def test_a_crash_at_any_boundary_leaves_nothing_that_terminate_all_does_not_end(
    begin: Callable[..., SimulatedProject], computer: str
) -> None:
    assert strike_everywhere(begin, ClientCrash, computer, LAG) > 20


@pytest.mark.slow
def test_ctrl_c_at_any_boundary_leaves_nothing_that_terminate_all_does_not_end(
    begin: Callable[..., SimulatedProject],
) -> None:
    assert strike_everywhere(begin, KeyboardInterrupt, "laptop", LAG) > 20
