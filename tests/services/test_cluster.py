"""Use cases on a cluster, as far as they add to the components they call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from localcloud.scenarios.scenario import make_fault
from orchestrator.core.errors import HostsFailed, StratusError, UsageError
from orchestrator.core.next_step import advice_of
from orchestrator.jobs.scripts.find import find
from orchestrator.services.cluster import HOST_NAMES_TTL_S
from tests.support.simulated_project import LAG, SimulatedProject, simulate

__all__ = ["simulate"]

Simulate = Callable[..., SimulatedProject]


def test_host_names_are_looked_up_once_in_half_a_minute(simulate: Simulate) -> None:
    project = simulate()
    session = project.session()
    session.cluster.launch(session.cluster.plan(2))
    before = project.count_calls("DescribeInstances")

    for _ in range(5):
        assert session.cluster.host_names() == ["ml-0", "ml-1"]
    assert project.count_calls("DescribeInstances") == before + 1
    project.cloud.clock.sleep(HOST_NAMES_TTL_S + 1)
    session.cluster.host_names()
    assert project.count_calls("DescribeInstances") == before + 2


def test_an_interrupted_plan_says_that_nothing_was_launched(simulate: Simulate) -> None:
    project = simulate()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    project.cloud.on_call_boundary = interrupt
    with pytest.raises(KeyboardInterrupt) as caught:
        project.session().cluster.plan(2)
    assert advice_of(caught.value) == ["Nothing was launched."]


def test_a_launch_is_recorded_with_its_timings(simulate: Simulate) -> None:
    session = simulate().session()
    report = session.cluster.launch(session.cluster.plan(1))

    assert session.cluster.timings.read("any")["launch"] == report.seconds


def test_the_work_after_a_launch_is_not_part_of_its_duration(simulate: Simulate) -> None:
    project = simulate()
    session = project.session()
    report, results = session.cluster.launch_and(session.cluster.plan(1), lambda _: project.cloud.clock.sleep(3600))

    assert len(results) == 1
    assert report.seconds < 600


def test_terminated_instances_are_removed_from_the_known_hosts(simulate: Simulate) -> None:
    session = simulate().session()
    session.cluster.launch(session.cluster.plan(1))
    (instance,) = session.inventory.instances()
    session.context.known_hosts.add(instance.id, "ssh-ed25519 AAAA")
    session.cluster.terminate()

    assert session.context.known_hosts.get(instance.id) == ""


JOB = """[job]
single = echo one
multi = echo many
"""


def job_folder(project: SimulatedProject, text: str = JOB) -> None:
    """Write a job, and name it in the config."""
    folder = project.folder / "job"
    folder.mkdir(exist_ok=True)
    (folder / "job.ini").write_text(text)
    project.aws += f"[job]\nrun = {folder}\n"


@pytest.mark.slow
def test_an_experiment_that_fails_terminates_what_it_launched_and_adds_what_remains(simulate: Simulate) -> None:
    """Simulated hosts cannot install, and the second VM of the experiment is protected."""
    project = simulate(make_fault("protected", where="host 3"))
    job_folder(project)
    session = project.session()
    session.cluster.launch(session.cluster.plan(2))

    with pytest.raises(HostsFailed, match="2 of 2 VMs failed") as caught:
        session.experiment(multi=False, count=2)

    names = [instance.name for instance in session.cluster.status().instances]
    assert names == ["ml-0", "ml-1", "ml-3"]
    (remaining,) = [str(line) for line in advice_of(caught.value) if str(line).startswith("left: ")]
    assert "ml-3" in remaining
    assert "ml-0" not in remaining


def test_an_experiment_with_an_invalid_job_launches_and_terminates_nothing(simulate: Simulate) -> None:
    """Checked before AWS is called at all: no command for one VM, then no job."""
    project = simulate()
    job_folder(project, "[job]\nmulti = echo many\n")
    session = project.session()
    session.cluster.launch(session.cluster.plan(2))
    calls = len(project.cloud.calls)

    with pytest.raises(UsageError, match="no command for single"):
        session.experiment(multi=False, count=1)
    (project.folder / "job/job.ini").unlink()
    with pytest.raises(StratusError, match=r"job\.ini"):
        session.experiment(multi=True, count=1)

    assert len(project.cloud.calls) == calls
    assert [instance.name for instance in session.cluster.status().instances] == ["ml-0", "ml-1"]


def test_an_experiment_alone_leaves_neither_security_group_nor_key_pair(simulate: Simulate) -> None:
    project = simulate()
    job_folder(project)
    session = project.session()
    with pytest.raises(HostsFailed):
        session.experiment(multi=False, count=1)

    report = session.cluster.terminate()
    assert (report.instances, report.group_state, report.key_state) == ((), "none", "none")


def test_an_interrupted_experiment_terminates_its_own_launch_only(simulate: Simulate) -> None:
    """Ctrl-C between two calls of the launch."""
    project = simulate()
    job_folder(project)
    session = project.session()
    session.cluster.launch(session.cluster.plan(1))
    requests = project.count_calls("RunInstances")

    def interrupt(*_: object) -> None:
        if project.count_calls("RunInstances") > requests:
            project.cloud.on_call_boundary = lambda *_: None
            raise KeyboardInterrupt

    project.cloud.on_call_boundary = interrupt
    with pytest.raises(KeyboardInterrupt):
        session.experiment(multi=False, count=2)

    assert [instance.name for instance in session.cluster.status().instances] == ["ml-0"]


def test_a_launch_of_hours_ago_is_terminated_alone(simulate: Simulate) -> None:
    """An experiment ends long after its requests; EC2's lookups are complete by then."""
    session = (project := simulate(LAG)).session()
    session.cluster.launch(session.cluster.plan(1))
    second = session.cluster.plan(1)
    session.cluster.launch(second)
    project.cloud.clock.sleep(7200)
    report = session.cluster.terminate_launch(second.launch_id)

    assert [(result.name, result.state) for result in report.instances] == [("ml-1", "terminated")]
    assert (report.untouched, report.remaining) == (("ml-0",), ())
    assert session.cluster.terminate_launch(second.launch_id).instances == ()


def test_the_plan_of_an_experiment_checks_the_job_that_it_runs(simulate: Simulate, tmp_path: Path) -> None:
    """The job in the settings does not exist, which a plain launch notes; the script has all that it needs."""
    (tmp_path / "train.py").touch()
    session = simulate(aws="[job]\nrun = nowhere\n").session()

    assert not session.cluster.plan(1).is_job_ready
    plan = session.plan_experiment(1, find(str(tmp_path / "train.py")))
    assert (plan.is_job_ready, plan.warnings) == (True, ())
