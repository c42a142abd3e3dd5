"""GPUs of the embedded cloud, with faults: found at the launch and by CheckGpus(), and the VM replaced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import localcloud
from localcloud.scenarios.scenario import Fault, Scenario, make_fault
from orchestrator.core.errors import UsageError
from orchestrator.session import Session
from tests.support.project import Project
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def project(cloud: dict[str, str], tmp_path: Path) -> Iterator[Project]:
    """A project with GPU instances; its cluster is terminated afterwards."""
    project = Project(tmp_path, "gpus", cloud)
    project.job("single = nvidia-smi -L && echo slots $STRATUS_SLOTS\n")
    text = project.config.read_text().replace("count = 2", "count = 2\ninstance_type = g4dn.12xlarge")
    project.config.write_text(text)
    yield project
    play(project)
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


def play(project: Project, *faults: Fault) -> None:
    """Let these faults happen from now on."""
    localcloud.scenario(Scenario(1, faults) if faults else None, project.env["LOCALCLOUD_HOME"])


def bad(session: Session) -> dict[str, tuple[str, ...]]:
    """Return host -> what CheckGpus() finds wrong with it."""
    return {host.host: host.problems for host in session.cluster.check_gpus().hosts if host.problems}


def test_a_bad_gpu_is_replaced_at_the_launch_and_found_and_replaced_later(project: Project) -> None:
    play(project, make_fault("gpu-missing", where="host 1", gpus=3))
    with project.session() as session:
        report = session.cluster.launch(session.cluster.plan(2))
        replaced = [event.text for event in project.events if event.phase == "replace"]

        assert (len(report.ready), dict(report.failed)) == (2, {})
        assert replaced[0] == "gpus-1: bad GPU: nvidia-smi lists 1 of 4"

        handle = session.jobs.start(multi=False)
        lines: list[str] = []
        session.jobs.follow(handle.run_id, on_line=lambda host, line: lines.append(line))
        assert lines[-1] == "slots 4"
        assert lines[0].startswith("GPU 0: NVIDIA T4 (UUID: GPU-")
        (gpus,) = {len(host.gpus) for host in session.hosts.usage().hosts}
        assert gpus == 4
        assert bad(session) == {}

        # Counted anew, in the order of their launches.
        play(project, make_fault("gpu-xid", where="host 0"), make_fault("gpu-ecc", where="host 0", errors=2))
        wait_until(lambda: bool(bad(session)))
        wait_until(lambda: len(bad(session)["gpus-0"]) == 2)
        assert bad(session) == {
            "gpus-0": (
                "GPU 0 has 2 uncorrected memory errors (ECC)",
                "Xid 79 of GPU 0000:10:00: fallen off the bus",
            )
        }

        before = {instance.name: instance.id for instance in session.inventory.instances()}
        plan = session.cluster.plan_replacement(["gpus-0"])
        assert (plan.names, plan.existing_names) == (("gpus-0",), ("gpus-1",))
        # What the question names as not fetched; the run was on the first VM only.
        assert session.jobs.not_fetched(plan.replaced_ids) == (handle.run_id,)
        assert session.jobs.not_fetched([before["gpus-1"]]) == ()
        assert dict(session.cluster.replace(plan).failed) == {}
        after = {instance.name: instance.id for instance in session.inventory.instances()}
        assert before["gpus-1"] == after["gpus-1"]
        assert before["gpus-0"] != after["gpus-0"]
        assert bad(session) == {}
        with pytest.raises(UsageError, match="gpus-7: no such VM"):
            session.cluster.plan_replacement(["gpus-7"])


def test_an_all_reduce_measures_connections_and_names_a_host_that_hangs(project: Project) -> None:
    with project.session() as session:
        session.cluster.launch(session.cluster.plan(3))
        measured = session.cluster.check_gpus(all_reduce_s=1).all_reduce

        assert measured
        assert {(link.source, link.target) for link in measured.links} == {
            ("gpus-0", "gpus-1"),
            ("gpus-1", "gpus-2"),
            ("gpus-2", "gpus-0"),
        }
        assert [(item.backend, item.processes) for item in measured.reductions] == [("TCP", 3)]
        assert min([*(link.gbit_per_s for link in measured.links), measured.reductions[0].gbit_per_s]) > 0
        assert measured.broken == {}
        assert set(measured.without_nccl) == {"gpus-0", "gpus-1", "gpus-2"}

        # Not frozen, which takes longer: tests of the mesh have that.
        session.hosts.run_command("mv stratus aside && touch stratus", names=["gpus-1"])
        hurt = session.cluster.check_gpus(all_reduce_s=1)
        assert hurt.all_reduce
        assert list(hurt.all_reduce.broken) == ["gpus-1"]
        assert {(link.source, link.target) for link in hurt.all_reduce.links} == {
            ("gpus-0", "gpus-2"),
            ("gpus-2", "gpus-0"),
        }


@pytest.mark.parametrize(("image", "problems"), [("ubuntu-24.04", 1), ("deep-learning-ubuntu-24.04", 0)])
def test_an_image_without_the_software_of_efa_is_named(project: Project, image: str, problems: int) -> None:
    text = project.config.read_text().replace("g4dn.12xlarge", f"p4d.24xlarge\nimage = {image}")
    project.config.write_text(f"{text}[vms]\nefa = yes\n")
    with project.session() as session:
        session.cluster.launch(session.cluster.plan(1))

    warnings = [event.text for event in project.events if event.phase == "efa"]
    assert len(warnings) == problems
    assert all(
        text.startswith("EFA cannot be used on gpus-0: the image has no EFA software (fi_info); set")
        for text in warnings
    )
