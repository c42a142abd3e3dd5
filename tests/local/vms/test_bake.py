"""BakeImage() on a real host: nothing secret is in the image, the host stays what it is, the next launch has it all."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.errors import StratusError, UsageError
from orchestrator.session import Session
from tests.support.project import Project

pytestmark = pytest.mark.slow

JOB = """single = cat ~/stratus/venvs/job/setup.txt
multi = sleep 600
setup = echo installed > $VIRTUAL_ENV/setup.txt
"""
CANARY = secrets.token_hex(16)
PLACES = (
    *(".aws/credentials", ".docker/config.json", ".netrc", ".bash_history", ".config/pip/pip.conf", ".ssh/id_ed25519"),
    *("stratus/jupyter/token", "stratus/data/j/x/file", "stratus/state/install.log", ".cache/uv/index"),
)


@pytest.fixture(scope="module")
def project(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    lab = Project(tmp_path_factory.mktemp("bake"), "bake", cloud)
    lab.job(JOB)
    yield lab
    with lab.session() as session:
        session.cluster.terminate()


def run(session: Session, command: str) -> str:
    (output,) = session.hosts.run_command(command, names=["bake-0"]).hosts
    return "\n".join(output.lines)


def holding(folder: Path, content: bytes) -> list[str]:
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and content in path.read_bytes()
    ]


def test_an_image_has_what_is_installed_and_no_secret_and_the_next_launch_finds_it(project: Project) -> None:
    with project.session() as session:
        session.cluster.launch(session.cluster.plan(1))
        with pytest.raises(UsageError, match="python, setup, requirements of job not installed"):
            session.baked_images.plan()
        session.jobs.install()
        for place in PLACES:
            run(session, f"mkdir -p $(dirname ~/{place}); echo {CANARY} > ~/{place}")
        before = run(session, "cat ~/.ssh/authorized_keys ~/.ssh/id_ed25519 ~/.aws/credentials")
        (instance,) = session.inventory.instances()
        home = Path(project.env["LOCALCLOUD_HOME"])
        disk = home / "machines" / instance.id
        host_key = (disk / "etc/ssh/ssh_host_ed25519_key").read_bytes()

        report = session.baked_images.bake(session.baked_images.plan("bake-0"))

        image = home / "images" / report.id / "disk"
        assert (image / "home/ubuntu/stratus/venvs/job/setup.txt").exists()
        assert holding(image, CANARY.encode()) == []
        assert holding(image, host_key) == []
        assert not [*image.glob("etc/ssh/ssh_host_*"), *image.glob("var/lib/cloud/**/*"), *image.glob("home/*/.ssh")]
        assert run(session, "cat ~/.ssh/authorized_keys ~/.ssh/id_ed25519 ~/.aws/credentials") == before
        assert (disk / "etc/ssh/ssh_host_ed25519_key").read_bytes() == host_key
        assert run(session, "ls /dev/shm | grep -c stratus-bake") == "0"
        session.cluster.terminate()

    with project.session() as session:
        session.cluster.launch(session.cluster.plan(1))
        (copy,) = session.inventory.instances()
        assert (copy.image_id, copy.id != instance.id) == (report.id, True)
        assert session.context.known_hosts.get(copy.id) not in ("", instance.host_key)
        (installed,) = session.jobs.install().hosts
        states = {step.name: step.state for step in installed.steps}
        assert states == {"code": "done", "python": "unchanged", "setup": "unchanged", "requirements": "unchanged"}
        lines: list[str] = []
        handle = session.jobs.start(multi=False)
        session.jobs.follow(handle.run_id, on_line=lambda _, line: lines.append(line))
        assert lines == ["installed"]


def test_a_host_with_runs_is_not_baked_and_one_at_work_neither(project: Project) -> None:
    with project.session() as session:
        plan = session.baked_images.plan()
        with pytest.raises(UsageError, match="an image has no runs, and here are 1"):
            session.baked_images.check(plan)
        handle = session.jobs.start(multi=True)
        with pytest.raises(UsageError, match=f"{handle.run_id.rpartition('-')[2]} works on it"):
            session.baked_images.bake(plan, remove_runs=True)
        session.jobs.cancel(handle.run_id)
        report = session.baked_images.bake(plan, remove_runs=True)
        assert session.jobs.runs() == []
        # The same install on the same image: launches take the newer one.
        newest, older = session.baked_images.list_images().images
        assert (newest.id, newest.use, older.use) == (report.id, "next launch", "stale")
        assert session.baked_images.delete([newest.id, older.id]).remaining == ()


def test_an_image_of_a_vm_that_had_its_keys_back_is_deleted(project: Project) -> None:
    """As after the sleep of this computer, in which the VM restores itself."""

    def restore(**_: Any) -> None:
        for script in Path("/dev/shm").glob("stratus-bake.*/restore.sh"):
            if project.env["LOCALCLOUD_HOME"] in script.read_text():
                subprocess.run(["sh", script], check=True)

    def sleep(boto_session: Any) -> None:
        boto_session.events.register("before-call.ec2.CreateImage", restore)

    with replace(project, on_session=sleep).session() as session:
        with pytest.raises(StratusError, match=r"which may have them: ami-[0-9a-f]+ was deleted"):
            session.baked_images.bake(session.baked_images.plan())
        assert session.baked_images.list_images().images == ()
        assert session.baked_images.log.open_entries() == []
